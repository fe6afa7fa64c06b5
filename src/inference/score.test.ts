/** Scores against `transformers`, whole and through the cache. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { openCheckpoint } from '../model/checkpoint.js';
import { loadModel } from '../model/language-model.js';
import { createScorer, type ScorerOptions } from './score.js';

const families = join(import.meta.dirname, '..', '..', 'test', 'parity', 'golden', 'families');
const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

interface Expected {
  rows: {
    id: string;
    tokens: number[];
    logprobs: (number | null)[];
    topAt: { position: number; top: [number, number][] }[];
  }[];
}
const expectedOf = (family: string): Expected =>
  JSON.parse(readFileSync(join(families, family, 'expected.json'), 'utf8'));
const open = async (family: string) => loadModel(compiler, await openCheckpoint(join(families, family)));
const TOLERANCE = 1e-4;

const ways: Record<string, ScorerOptions> = {
  'in batches': {},
  'through the cache in one chunk': { maxWholeRow: 0 },
  'through the cache in chunks of 16': { maxWholeRow: 32, chunkSize: 16 },
};

describe('scores are those of transformers within 1e-4', () => {
  for (const family of readdirSync(families)) {
    for (const [way, options] of Object.entries(ways)) {
      test(`${family}, ${way}`, async () => {
        const { rows } = expectedOf(family);
        const model = await open(family);
        const scored = await createScorer(model, options).score(rows, { topK: 5 });
        assert.deepEqual(
          scored.map(({ id }) => id),
          rows.map(({ id }) => id),
        );
        for (const [index, { logprobs, top }] of scored.entries()) {
          const row = rows[index];
          assert.equal(logprobs.length, row.tokens.length);
          assert.equal(top?.length, row.tokens.length);
          assert.deepEqual([logprobs[0], top[0]], [null, null]);
          for (const [at, value] of row.logprobs.entries()) {
            if (value === null) continue;
            assert.ok(Math.abs(logprobs[at]! - value) < TOLERANCE, `${row.id} ${at}: ${logprobs[at]}, not ${value}`);
          }
          for (const { position, top: expected } of row.topAt) {
            for (const [rank, [id, value]] of expected.entries()) {
              const [gotId, got]: readonly [number, number] = top[position]![rank];
              assert.ok(Math.abs(got - value) < TOLERANCE);
              const isTie = expected.some(([other, near]) => other !== id && Math.abs(near - value) < TOLERANCE);
              if (!isTie && rank < expected.length - 1) assert.equal(gotId, id);
            }
          }
        }
        model.dispose();
      });
    }
  }
});

describe('a scorer', () => {
  test('gives back all memory, takes rows of one token and no rows', async () => {
    const model = await open('qwen2');
    const scorer = createScorer(model);
    const rows = expectedOf('qwen2').rows;
    await scorer.score(rows);
    const before = runtime.ownedBytes;
    await scorer.score(rows, { topK: 3 });
    assert.equal(runtime.ownedBytes, before);
    assert.deepEqual(await scorer.score([{ id: 'one', tokens: [3] }]), [{ id: 'one', tokens: [3], logprobs: [null] }]);
    assert.deepEqual(await scorer.score([]), []);
    model.dispose();
  });

  test('refuses wrong rows and settings, and stops when told to', async () => {
    const model = await open('llama2');
    const scorer = createScorer(model);
    const { maxPositions } = model.config;
    await assert.rejects(scorer.score([{ id: 'x', tokens: [] }]), /DataError: Row 'x' has no tokens/);
    await assert.rejects(scorer.score([{ id: 'x', tokens: [1, -1] }]), /DataError: Row 'x': token 1 is -1/);
    const long = { id: 'x', tokens: new Array<number>(maxPositions + 1).fill(1) };
    await assert.rejects(scorer.score([long]), /DataError: Row 'x' has .* tokens, but the model's context is/);
    await assert.rejects(scorer.score([], { topK: 65 }), /ConfigError: topK is 65/);
    const row = { id: 'x', tokens: [1, 2] };
    await assert.rejects(scorer.score([row], { signal: AbortSignal.abort() }), { name: 'AbortError' });
    model.dispose();
  });
});
