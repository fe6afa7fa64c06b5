/** The scheduler alone: a device is imitated by a table of what each slot's cache holds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { samplerSchema } from './samplers/settings.js';
import { type Action, createScheduler, type SchedulerOptions } from './scheduler.js';
import { prefillLength, type Sequence, tokenAt } from './sequence.js';

const sampler = samplerSchema.parse({});

function sequence(id: number, promptTokens: readonly number[], maxTokens: number): Sequence {
  return {
    id: String(id),
    sample: 0,
    promptTokens,
    tokens: [],
    logprobs: [],
    statistics: new Map(),
    seed: '',
    requestSeed: 0,
    sampler,
    maxTokens,
    stopTokenIds: new Set(),
    text: undefined,
    status: 'waiting',
    slot: -1,
    numCached: 0,
    finish: undefined,
  };
}

/** Does actions on a table of tokens and checks that every decode step finds exactly its sequence in the cache. */
function createDevice(options: SchedulerOptions) {
  const cache: number[][] = [];
  let numPrefilled = 0;
  const perform = (action: Action, slots: readonly Sequence[]): void => {
    assert.deepEqual(
      slots.map(({ slot }) => slot),
      slots.map((_, index) => index),
      'compact, one sequence a slot',
    );
    assert.ok(slots.length <= options.maxBatch);
    if (action.kind === 'copy') {
      assert.ok(action.count <= cache[action.from].length);
      cache[action.to] = cache[action.from].slice(0, action.count);
    } else if (action.kind === 'prefill') {
      const { sequences, firstSlot, start, time } = action;
      assert.ok(sequences.length === 1 || start === 0);
      assert.ok(
        time <= options.chunkSize && (sequences.length === 1 || sequences.length * time <= options.prefillTokens),
      );
      sequences.forEach((member, row) => {
        assert.equal(member.slot, firstSlot + row);
        const end = Math.min(start + time, prefillLength(member));
        numPrefilled += end - start;
        cache[member.slot] = [
          ...(start === 0 ? [] : cache[member.slot].slice(0, start)),
          ...member.promptTokens.slice(start, end),
        ];
      });
    } else {
      const { sequences, batch } = action;
      assert.ok(batch >= sequences.length);
      sequences.forEach((member, row) => {
        assert.equal(member.slot, row);
        const position = prefillLength(member) + member.tokens.length;
        assert.equal(member.numCached, position);
        cache[row] ??= [];
        assert.deepEqual(cache[row].slice(0, position), [...member.promptTokens, ...member.tokens].slice(0, position));
        cache[row] = [...cache[row].slice(0, position), tokenAt(member, position)];
      });
      // Padding rows write behind what their slot holds.
      for (let row = sequences.length; row < batch; row++) {
        cache[row] ??= [];
        cache[row][slots[row]?.numCached ?? 0] = -1;
      }
    }
  };
  return { perform, numPrefilled: () => numPrefilled };
}

const prompts = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 6 });
const arrivals = fc.array(fc.record({ prompt: fc.nat(5), length: fc.integer({ min: 1, max: 9 }), gap: fc.nat(3) }), {
  minLength: 1,
  maxLength: 40,
});
const settings = fc.record({
  maxBatch: fc.integer({ min: 1, max: 9 }),
  chunkSize: fc.constantFrom(4, 16, 64),
  prefillTokens: fc.constantFrom(8, 64, 1024),
  budget: fc.integer({ min: 100, max: 600 }),
});

describe('scheduler', () => {
  test('everyone finishes, each decode step finds its own tokens in the cache, slots stay compact', () => {
    fc.assert(
      fc.property(prompts, arrivals, settings, (lengths, plan, { budget, ...limits }) => {
        const options = { ...limits, fits: (slots: number, capacity: number) => slots * capacity <= budget };
        const scheduler = createScheduler(options);
        const device = createDevice(options);
        // Distinct tokens, so that no prompt passes for another.
        const texts = lengths.map((length, k) => Array.from({ length }, (_, at) => 1000 * (k + 1) + at));
        const all = plan.map(({ prompt, length }, id) => sequence(id, texts[prompt % texts.length], length));
        let numAdded = 0;
        let numSteps = 0;
        for (let time = 0; ; time++) {
          assert.ok(time < 20_000, 'it comes to an end');
          if (numAdded < all.length && time % (plan[numAdded].gap + 1) === 0) scheduler.add(all[numAdded++]);
          const action = scheduler.next();
          if (action === undefined) {
            if (numAdded === all.length) break;
            continue;
          }
          device.perform(action, scheduler.slots);
          if (action.kind !== 'decode') continue;
          numSteps += 1;
          const finished = action.sequences.filter((member) => {
            member.numCached += 1;
            member.tokens.push(1e6 * (Number(member.id) + 1) + member.tokens.length);
            return member.tokens.length === member.maxTokens;
          });
          scheduler.finish(finished);
        }
        assert.ok(all.every((member) => member.status === 'finished' && member.tokens.length === member.maxTokens));
        assert.equal(scheduler.slots.length + scheduler.numWaiting, 0);
        assert.ok(numSteps >= Math.max(...all.map(({ maxTokens }) => maxTokens)));
      }),
      { numRuns: 300 },
    );
  });

  const unlimited = { maxBatch: 8, chunkSize: 16, prefillTokens: 64, fits: () => true };
  const numbers = (length: number, from = 0) => Array.from({ length }, (_, at) => from + at);
  const kinds = (scheduler: ReturnType<typeof createScheduler>, count: number) =>
    Array.from({ length: count }, () => {
      const action = scheduler.next();
      if (action?.kind === 'decode') for (const member of action.sequences) member.numCached += 1;
      return action?.kind;
    });

  test('prompts of similar length are prefilled in one run', () => {
    const scheduler = createScheduler(unlimited);
    for (let id = 0; id < 4; id++) scheduler.add(sequence(id, numbers(12 + id, id * 100), 5));
    const action = scheduler.next();
    assert.equal(action?.kind === 'prefill' && action.sequences.length, 4);
    assert.deepEqual(kinds(scheduler, 1), ['decode']);
  });

  test('a long prompt does not hold up those that decode', () => {
    const scheduler = createScheduler({ ...unlimited, prefillTokens: 16 });
    scheduler.add(sequence(0, [1], 100));
    assert.deepEqual(kinds(scheduler, 1), ['decode']);
    scheduler.add(sequence(1, numbers(65), 5));
    assert.deepEqual(kinds(scheduler, 8), [
      'prefill',
      'decode',
      'prefill',
      'decode',
      'prefill',
      'decode',
      'prefill',
      'decode',
    ]); // prettier-ignore
  });

  test('the batch shrinks only by half or more', () => {
    const scheduler = createScheduler({ ...unlimited, maxBatch: 32 });
    const all = numbers(24).map((id) => sequence(id, [id], 100));
    for (const member of all) scheduler.add(member);
    const batchAfter = (numFinished: number) => {
      const action = scheduler.next();
      assert.ok(action?.kind === 'decode');
      for (const member of action.sequences) member.numCached += 1;
      scheduler.finish(action.sequences.slice(0, numFinished));
      let next = scheduler.next();
      while (next?.kind === 'copy') next = scheduler.next();
      assert.ok(next?.kind === 'decode');
      for (const member of next.sequences) member.numCached += 1;
      return next.batch;
    };
    assert.deepEqual([0, 8, 3, 1, 8].map(batchAfter), [24, 24, 24, 16, 4]);
  });
});
