import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler, effectivePrecision } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createModel, deriveModel, type LanguageModel } from '../../model/language-model.js';
import { createRandom } from '../../support/random.js';
import { fillMicroBatch, planMicroBatches } from '../../training/batches.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import { createForwardPass } from '../../training/forward-pass.js';
import { createObjectiveAccumulator } from '../../training/gradient-accumulator.js';
import { languageModelObjective } from '../../training/objective.js';
import { gadSchema } from './config.js';
import { objective64, slope, smallConfig } from './gad.fixture.js';
import { policyLoss, targetLogprobs } from './policy-loss.js';
import { createPolicyTrainer } from './policy-trainer.js';
import { createRolloutSampler, type Rollout } from './rollouts.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const model = createModel(compiler, smallConfig, createRandom('policy'));
const shape = { batch: 2, time: 6 };
const numTokens = 12;
const wave = (scale: number, shift: number) =>
  Float32Array.from({ length: numTokens }, (_, index) => scale * Math.sin(2.1 * index + shift));

describe('loss of the policy', () => {
  for (const temperature of [1, 0.8]) {
    test(`at temperature ${temperature}: value by its formula, gradient by differences, clipped on both sides`, async () => {
      const settings = { temperature, clipFraction: 0.2, klWeight: 0.3 };
      const objective = languageModelObjective(model, policyLoss(settings), { checkpointing: false });
      const weights = Float32Array.from({ length: numTokens }, (_, index) => (index % 6 < 2 ? 0 : 0.125));
      const columns = {
        weights,
        advantages: wave(1.5, 0),
        oldLogprobs: new Float32Array(numTokens),
        referenceLogprobs: new Float32Array(numTokens),
        isOnPolicy: new Float32Array(1),
      };
      const fill = (arrays: NamedArrays) => {
        for (const name of ['tokens', 'targets']) {
          (arrays[name] as BigInt64Array).forEach((_, index, all) => {
            all[index] = BigInt((3 * index + (name === 'tokens' ? 1 : 4)) % 11);
          });
        }
        for (const [name, values] of Object.entries(columns)) (arrays[name] as Float32Array).set(values);
      };
      const now = objective64(objective, shape, fill).at().logprobs.data;
      // Ratios from e^−0.6 to e^0.6: some inside the clip range, some outside on either side.
      columns.oldLogprobs.set(wave(0.6, 1).map((value, index) => now[index] - value));
      columns.referenceLogprobs.set(wave(0.8, 2).map((value, index) => now[index] + value));
      const exact = objective64(objective, shape, fill);

      let expected = 0;
      const sides = { up: 0, down: 0, inside: 0 };
      for (let index = 0; index < numTokens; index++) {
        const advantage = columns.advantages[index];
        const ratio = Math.exp(now[index] - columns.oldLogprobs[index]);
        const clipped = Math.min(Math.max(ratio, 0.8), 1.2);
        const d = columns.referenceLogprobs[index] - now[index];
        expected += weights[index] * (0.3 * (Math.exp(d) - d - 1) - Math.min(ratio * advantage, clipped * advantage));
        if (weights[index] === 0) continue;
        const isCut = advantage > 0 ? ratio > 1.2 : ratio < 0.8;
        sides[isCut ? (advantage > 0 ? 'up' : 'down') : 'inside'] += 1;
      }
      assert.ok(
        Object.values(sides).every((count) => count > 0),
        JSON.stringify(sides),
      );
      assert.ok(Math.abs(exact.at().loss.data[0] - expected) < 1e-6);

      const accumulator = createObjectiveAccumulator<NamedArrays>(objective);
      const loss = await accumulator.add({ ...shape, fill });
      assert.ok(Math.abs(loss - expected) < 2e-6, `${loss}, expected ${expected}`);
      for (const [parameter, { data }] of accumulator.gradients) {
        const stride = Math.max(1, Math.floor(data.length / 2));
        for (let index = 0; index < data.length; index += stride) {
          const difference = slope((moves) => exact.at(moves).loss.data[0], parameter, index);
          assert.ok(Math.abs(data[index] - difference) < 2e-5, `${parameter} ${index}: ${data[index]}, ${difference}`);
        }
      }

      // A policy compared with itself: what sampling recorded is not read, and the gradient is that at its own log-probabilities.
      const onPolicy = async (isOnPolicy: number) => {
        columns.isOnPolicy[0] = isOnPolicy;
        accumulator.reset();
        const seen = { logprobs: new Float32Array(numTokens), ratios: new Float32Array(numTokens) };
        const read = ({ logprobs, ratios }: NamedArrays) => {
          seen.logprobs.set(logprobs as Float32Array);
          seen.ratios.set(ratios as Float32Array);
        };
        const value = await accumulator.add({ ...shape, fill, read });
        return { ...seen, value, gradients: [...accumulator.gradients].map(([, { data }]) => [...data]) };
      };
      const own = await onPolicy(1);
      assert.deepEqual(own.ratios, new Float32Array(numTokens).fill(1));
      columns.oldLogprobs.set(own.logprobs);
      assert.deepEqual(await onPolicy(0), own);
      assert.ok(own.gradients.every((values) => values.some((value) => value !== 0)));
      accumulator.dispose();
    });
  }
});

for (const precision of ['float32', 'bfloat16'] as const) {
  const skip = effectivePrecision(runtime, precision) !== precision && `no kernels of ${precision}`;
  describe(`ratios to the policy of the rollouts, ${precision}`, { skip }, () => {
    const own = createCompiler(runtime, { precision });
    after(() => own.dispose());
    // Groups of 96 positions and more in one micro-batch, and cut into rows: float32 has other products from 64 rows on.
    const large = {
      ...smallConfig,
      vocabSize: 300,
      hiddenSize: 40,
      intermediateSize: 72,
      numLayers: 2,
      headSize: 12,
      initializerRange: 0.2,
    };
    const prompts = [1, 4, 2, 9, 3, 6].map((length, at) => ({
      id: String(at),
      tokens: Array.from({ length }, (_, index) => (5 * at + 3 * index + 1) % 11),
    }));

    async function reinforce(changes: Parameters<typeof gadSchema.parse>[0], more: { rate: number; shift?: number }) {
      const config = gadSchema.parse({ maxTokens: 10, klWeight: 0.1, gradientClip: 10, ...(changes as object) });
      const student = createModel(own, large, createRandom('ratios'));
      const reference = deriveModel(student, (_, source, into) => into.set(source));
      const sampler = createRolloutSampler(student, { ...config, maxBatch: 8 });
      const policy = createPolicyTrainer(student, reference, config);
      const groups = await sampler.sample(prompts, { groupSize: 3, seed: 1 });
      const { shift = 0, rate } = more;
      const rewarded = groups.map((group) =>
        group.map((rollout, index) => ({
          ...rollout,
          logprobs: rollout.logprobs.map((logprob) => logprob - shift),
          advantage: index - 1,
        })),
      );
      const result = await policy.reinforce(rewarded, rate);
      const weights = [...student.parameters].map(([name, { data }]) => [name, [...data]]);
      for (const part of [sampler, policy, student, reference]) part.dispose();
      return { ...result, weights };
    }

    for (const temperature of [1, 0.7]) {
      test(`at temperature ${temperature} they are exactly 1 before the student moves, and so is the KL to a copy 0`, async () => {
        for (const microBatchTokens of [32, 1024]) {
          for (const updatesPerRollout of [1, 3]) {
            const changes = { temperature, microBatchTokens, updatesPerRollout };
            const still = await reinforce(changes, { rate: 0 });
            const ones = Array.from({ length: updatesPerRollout }, () => [1, 1]);
            assert.deepEqual([still.ratioRanges, still.klNats, still.clippedFraction], [ones, 0, 0]);
            assert.ok(
              still.samplingDifferenceNats > 0,
              'decoding rounds elsewhere: its log-probabilities would not do',
            );
            const moved = await reinforce(changes, { rate: 0.01 });
            assert.deepEqual(moved.ratioRanges[0], [1, 1]);
            assert.ok(moved.ratioRanges.slice(1).every(([least, greatest]) => least < 0.99 && greatest > 1.01));
          }
        }
      });
    }

    test('what sampling recorded is told and decides nothing', async () => {
      const changes = { temperature: 0.7, microBatchTokens: 96, updatesPerRollout: 3 };
      const { samplingDifferenceNats: difference, ...plain } = await reinforce(changes, { rate: 0.01 });
      const { samplingDifferenceNats, ...shifted } = await reinforce(changes, { rate: 0.01, shift: 0.5 });
      assert.deepEqual(shifted, plain);
      assert.ok(difference < (precision === 'float32' ? 1e-5 : 0.2), `${difference}`);
      assert.ok(Math.abs(samplingDifferenceNats - 0.5) <= difference + 1e-6, `${samplingDifferenceNats}`);
    });
  });
}

const hasHalf = effectivePrecision(runtime, 'bfloat16') === 'bfloat16';
test('in bfloat16 a row has the same log-probabilities, to the bit, in any micro-batch', {
  skip: !hasHalf,
}, async () => {
  const own = createCompiler(runtime, { precision: 'bfloat16' });
  const student = createModel(own, { ...smallConfig, vocabSize: 300, maxPositions: 64 }, createRandom('rows'));
  const pass = createForwardPass(languageModelObjective(student, targetLogprobs(0.7), { checkpointing: false }));
  const examples = Array.from({ length: 11 }, (_, row) => ({
    id: String(row),
    tokens: Array.from({ length: 3 + ((17 * row) % 40) }, (_, index) => (31 * row + 7 * index) % 300),
    responseStart: 1 + (row % 2),
  }));
  const rows = examples.map((_, row) => row);
  const logprobsIn = async (maxTokens: number) => {
    const found = new Map<number, number[]>();
    for (const part of planMicroBatches(examples, rows, maxTokens)) {
      await pass.run({
        ...part,
        fill: (arrays) => fillMicroBatch(examples, part, { arrays, tokenWeight: 0 }),
        read({ logprobs }) {
          part.rows.forEach((row, at) => {
            const from = at * part.time;
            found.set(row, [...(logprobs as Float32Array).subarray(from, from + examples[row].tokens.length - 1)]);
          });
        },
      });
    }
    return rows.map((row) => found.get(row));
  };
  const whole = await logprobsIn(4096);
  for (const maxTokens of [16, 100, 200]) assert.deepEqual(await logprobsIn(maxTokens), whole);
  for (const part of [pass, student, own]) part.dispose();
});

describe('later updates on the same rollouts', () => {
  test('are measured against the student before the first of them, not before themselves', async () => {
    const settings = { temperature: 0.8, maxTokens: 8, klWeight: 0, gradientClip: 10, microBatchTokens: 64 };
    const prompts = [2, 5, 1, 3, 4, 2].map((length, at) => ({
      id: String(at),
      tokens: Array.from({ length }, (_, index) => (at + 2 * index) % 11),
    }));
    const sampler = createRolloutSampler(model, { ...settings, maxBatch: 16 });
    const groups = (await sampler.sample(prompts, { groupSize: 3, seed: 5 })).map((group) =>
      group.map((rollout, index) => ({ ...rollout, advantage: index - 1 })),
    );
    /** The student after so many updates on two prompts' groups each. */
    const updated = async (numUpdates: number) => {
      const student = deriveModel(model, (_, source, into) => into.set(source));
      const config = gadSchema.parse({ ...settings, updatesPerRollout: Math.max(1, numUpdates) });
      const policy = createPolicyTrainer(student, model, config);
      const result = numUpdates === 0 ? undefined : await policy.reinforce(groups.slice(0, 2 * numUpdates), 0.01);
      policy.dispose();
      return { student, ratioRanges: result?.ratioRanges };
    };
    const { student: first } = await updated(0);
    const { ratioRanges } = await updated(3);
    for (const slice of [1, 2]) {
      const { student: now } = await updated(slice);
      const rollouts = groups.slice(2 * slice, 2 * slice + 2).flat();
      const ratios = rollouts.flatMap((rollout) => {
        const [before, after] = [first, now].map((student) => logprobs64(student, rollout, settings.temperature));
        return after.map((logprob, index) => Math.exp(logprob - before[index]));
      });
      const [least, greatest] = ratioRanges![slice];
      assert.ok(Math.min(...ratios) < 0.95 && Math.max(...ratios) > 1.05, 'the student has moved');
      assert.ok(Math.abs(least - Math.min(...ratios)) < 1e-5, `${least}, expected ${Math.min(...ratios)}`);
      assert.ok(Math.abs(greatest - Math.max(...ratios)) < 1e-5, `${greatest}, expected ${Math.max(...ratios)}`);
    }
    sampler.dispose();
  });
});

/** ln π of each response token by plain loops in float64. */
function logprobs64(student: LanguageModel, { tokens, responseStart }: Rollout, temperature: number): number[] {
  const objective = languageModelObjective(student, targetLogprobs(temperature), { checkpointing: false });
  const time = tokens.length - 1;
  const { logprobs } = objective64(objective, { batch: 1, time }, (arrays) => {
    for (let index = 0; index < time; index++) {
      (arrays.tokens as BigInt64Array)[index] = BigInt(tokens[index]);
      (arrays.targets as BigInt64Array)[index] = BigInt(tokens[index + 1]);
    }
  }).at();
  return [...logprobs.data.subarray(responseStart - 1)];
}

describe('a step of the policy', () => {
  const prompts = [
    { id: 'a', tokens: [1, 2, 3] },
    { id: 'b', tokens: [4, 5, 6, 7, 8] },
  ];
  const config = gadSchema.parse({
    temperature: 0.8,
    maxTokens: 8,
    learningRate: 0.02,
    klWeight: 0.01,
    gradientClip: 10,
    microBatchTokens: 32,
  });

  test('training finds the log-probabilities that sampling had, within 1e-4', async () => {
    const student = deriveModel(model, (_, source, into) => into.set(source));
    const reference = deriveModel(model, (_, source, into) => into.set(source));
    const sampler = createRolloutSampler(student, { ...config, maxBatch: 8 });
    const policy = createPolicyTrainer(student, reference, config);
    const groups = await sampler.sample(prompts, { groupSize: 4, seed: 1 });
    assert.deepEqual(
      groups.map((group) => group.length),
      [4, 4],
    );
    for (const { tokens, responseStart, logprobs, isFinished } of groups.flat()) {
      assert.equal(logprobs.length, tokens.length - responseStart);
      assert.equal(isFinished, tokens.at(-1) === 11);
    }
    const rewarded = groups.map((group) =>
      group.map((rollout, index) => ({ ...rollout, advantage: index === 0 ? 1 : -1 / 3 })),
    );
    const { samplingDifferenceNats, klNats, clippedFraction } = await policy.reinforce(rewarded, config.learningRate);
    assert.ok(samplingDifferenceNats < 1e-4, `${samplingDifferenceNats}`);
    assert.deepEqual([klNats, clippedFraction], [0, 0]);

    // Sampled again from the parameters that were just changed in place.
    const later = await policy.reinforce(rewarded, config.learningRate);
    assert.ok(later.klNats > 1e-6, 'the student has left the reference');
    assert.deepEqual(
      later.ratioRanges,
      [[1, 1]],
      'the old policy is the student before the update, not the one that sampled',
    );
    assert.ok(later.samplingDifferenceNats > 1e-3, 'these rollouts are of the student before');
    const again = await sampler.sample(prompts, { groupSize: 4, seed: 2 });
    const fresh = await policy.reinforce(
      again.map((group) => group.map((rollout) => ({ ...rollout, advantage: 0 }))),
      0,
    );
    assert.ok(fresh.samplingDifferenceNats < 1e-4, 'the sampler sees the new weights');
    for (const part of [sampler, policy, student, reference]) part.dispose();
  });

  test('rewarded responses become likelier; the same seed gives the same rollouts', async () => {
    const student = deriveModel(model, (_, source, into) => into.set(source));
    const sampler = createRolloutSampler(student, { ...config, maxBatch: 3 });
    const policy = createPolicyTrainer(student, model, { ...config, updatesPerRollout: 2 });
    const groups = await sampler.sample(prompts, { groupSize: 4, seed: 3 });
    assert.deepEqual(await sampler.sample(prompts, { groupSize: 4, seed: 3 }), groups);
    const rewarded = groups.map((group) =>
      group.map((rollout, index) => ({ ...rollout, advantage: index === 1 ? 1 : -1 / 3 })),
    );
    for (let step = 0; step < 6; step++) await policy.reinforce(rewarded, config.learningRate);
    assert.equal(policy.optimizer.step, 12, 'two updates a rollout');
    const after = await sampler.sample(prompts, { groupSize: 64, seed: 4 });
    const share = (of: number) =>
      after[of].filter(
        ({ tokens }) => tokens[prompts[of].tokens.length] === groups[of][1].tokens[prompts[of].tokens.length],
      ).length;
    const before = await createRolloutSampler(model, { ...config, maxBatch: 64 }).sample(prompts, {
      groupSize: 64,
      seed: 4,
    });
    const shareBefore = (of: number) =>
      before[of].filter(
        ({ tokens }) => tokens[prompts[of].tokens.length] === groups[of][1].tokens[prompts[of].tokens.length],
      ).length;
    assert.ok(share(0) + share(1) > shareBefore(0) + shareBefore(1), `${share(0)} ${share(1)}`);
    for (const part of [sampler, policy, student]) part.dispose();
  });
});
