import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DataError } from '../support/errors.js';
import {
  batchesPerEpoch,
  epochBatches,
  fillMicroBatch,
  nextPosition,
  numResponseTokens,
  planMicroBatches,
  prepareExamples,
  type TrainingExample,
  timeBucket,
} from './batches.js';

const example = fc.record({ length: fc.integer({ min: 2, max: 300 }), start: fc.nat(400) }).map(
  ({ length, start }): TrainingExample => ({
    id: `${length}/${start}`,
    tokens: Array.from({ length }, (_, index) => index % 50),
    responseStart: Math.min(start, length),
  }),
);
const examples = fc.array(example, { minLength: 1, maxLength: 60 });

test('an epoch holds every row once, in batches of the size asked for but the last of a window, and is reproducible', () => {
  fc.assert(
    fc.property(examples, fc.integer({ min: 1, max: 9 }), fc.nat(5), (rows, batchSize, epoch) => {
      const batches = epochBatches(rows, { batchSize, seed: 1, epoch });
      assert.deepEqual(
        batches.flat().sort((a, b) => a - b),
        rows.map((_, index) => index),
      );
      assert.equal(batches.length, batchesPerEpoch(rows.length, batchSize));
      assert.ok(batches.filter((batch) => batch.length !== batchSize).length <= 1);
      assert.deepEqual(epochBatches(rows, { batchSize, seed: 1, epoch }), batches);
    }),
  );
});

test('seed and epoch change the order', () => {
  const rows = Array.from({ length: 64 }, (_, index) => ({ id: `${index}`, tokens: [1, 2, 3], responseStart: 1 }));
  const order = (seed: number, epoch: number) => epochBatches(rows, { batchSize: 4, seed, epoch }).flat().join();
  assert.equal(new Set([order(0, 0), order(0, 1), order(1, 0), order(1, 1)]).size, 4);
});

test('sorting within windows leaves little padding', () => {
  const rows = Array.from({ length: 512 }, (_, index) => ({
    id: `${index}`,
    tokens: new Array(10 + ((index * 37) % 400)).fill(1),
    responseStart: 1,
  }));
  const parts = epochBatches(rows, { batchSize: 8, seed: 0, epoch: 0 }).flatMap((batch) =>
    planMicroBatches(rows, batch, 4096),
  );
  const computed = parts.reduce((sum, { batch, time }) => sum + batch * time, 0);
  const useful = rows.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
  assert.ok(useful / computed > 0.8, `${useful / computed} of the computed tokens are wanted`);
});

test('micro-batches hold every row once, fit their rows, and keep to the limit unless a single row exceeds it', () => {
  fc.assert(
    fc.property(examples, fc.integer({ min: 16, max: 2000 }), (rows, maxTokens) => {
      const parts = planMicroBatches(
        rows,
        rows.map((_, index) => index),
        maxTokens,
      );
      assert.deepEqual(
        parts.flatMap((part) => part.rows).sort((a, b) => a - b),
        rows.map((_, index) => index),
      );
      for (const part of parts) {
        assert.ok(part.rows.length <= part.batch);
        assert.ok(part.rows.every((row) => rows[row].tokens.length - 1 <= part.time));
        assert.ok(part.batch * part.time <= maxTokens || part.rows.length === 1);
      }
    }),
  );
});

test('lengths are rounded up to multiples of 16 up to 128, of 64 above', () => {
  assert.deepEqual([1, 16, 17, 128, 129, 192, 193].map(timeBucket), [16, 16, 32, 128, 192, 192, 256]);
});

test('weights fall on the predictions of response tokens alone', () => {
  fc.assert(
    fc.property(examples, (rows) => {
      for (const part of planMicroBatches(
        rows,
        rows.map((_, index) => index),
        4096,
      )) {
        const size = part.batch * part.time;
        const arrays = {
          tokens: new BigInt64Array(size).fill(7n),
          targets: new BigInt64Array(size).fill(7n),
          weights: new Float32Array(size).fill(7),
        };
        fillMicroBatch(rows, part, { arrays, tokenWeight: 0.25 });
        const wanted = part.rows.reduce((sum, row) => sum + numResponseTokens(rows[row]), 0);
        assert.equal(arrays.weights.filter((weight) => weight !== 0).length, wanted);
        part.rows.forEach((row, at) => {
          const { tokens, responseStart } = rows[row];
          for (let index = 1; index < tokens.length; index++) {
            const cell = at * part.time + index - 1;
            assert.equal(arrays.tokens[cell], BigInt(tokens[index - 1]));
            assert.equal(arrays.targets[cell], BigInt(tokens[index]));
            assert.equal(arrays.weights[cell], index >= responseStart ? 0.25 : 0);
          }
        });
      }
    }),
  );
});

test('the position goes through the batches of an epoch, then to the next epoch', () => {
  const start = { seed: 5, epoch: 0, batchIndex: 0 };
  assert.deepEqual(nextPosition(start, 2), { seed: 5, epoch: 0, batchIndex: 1 });
  assert.deepEqual(nextPosition(nextPosition(start, 2), 2), { seed: 5, epoch: 1, batchIndex: 0 });
});

test('wrong rows are refused by name, overlong ones refused or cut, those without a response left out', () => {
  const options = { vocabSize: 50, maxLength: 5, overlong: 'refuse' as const };
  const row = (tokens: number[], responseStart = 1) => ({ id: 'x7', tokens, responseStart });
  const refused = (rows: TrainingExample[], message: RegExp) =>
    assert.throws(
      () => prepareExamples(rows, options),
      (error) => error instanceof DataError && message.test(error.message),
    );
  refused([], /no rows to train on/);
  refused([row([1, 2, 50])], /Row "x7": token 2 is 50; the vocabulary has ids 0 to 49/);
  refused([row([1, -1])], /token 1 is -1/);
  refused([row([1, 1.5])], /token 1 is 1.5/);
  refused([row([1, 2], 3)], /responseStart is 3; expected a whole number from 0 to 2/);
  refused([row([1, 2, 3, 4, 5, 6])], /has 6 tokens; at most 5/);
  refused([row([1, 2], 2), row([3], 0)], /None of the 2 rows has a response token/);
  const cut = prepareExamples([row([1, 2, 3, 4, 5, 6], 2), row([1, 2, 3, 4, 5, 6], 5), row([1, 2], 2)], {
    ...options,
    overlong: 'truncate',
  });
  assert.deepEqual(cut, { examples: [row([1, 2, 3, 4, 5], 2)], numTruncated: 2, numWithoutResponse: 2 });
});
