/** What the tests of training share: golden values, tiny models, and steps whose loss weights are given. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Compiler } from '../engine/compiler.js';
import type { Tensor } from '../engine/runtime/types.js';
import { openCheckpoint } from '../model/checkpoint.js';
import type { TransformerConfig } from '../model/config.js';
import { type LanguageModel, loadModel, modelTensors } from '../model/language-model.js';
import type { BatchArrays, TrainingExample } from './batches.js';
import type { StepInput } from './bound-batches.js';
import { accumulatorName, buildAccumulateGraph } from './step-graph.js';
import { trainableSpecs } from './trainable.js';

export const goldenPath = (name: string): string =>
  fileURLToPath(new URL(`../../test/parity/golden/${name}`, import.meta.url));

// biome-ignore lint/suspicious/noExplicitAny: golden files are described in test/parity/README.md
export const readGolden = (name: string): any => JSON.parse(readFileSync(goldenPath(name), 'utf8'));

export async function loadGoldenModel(compiler: Compiler, model: string): Promise<LanguageModel> {
  const checkpoint = await openCheckpoint(goldenPath(model));
  const loaded = loadModel(compiler, checkpoint);
  checkpoint.dispose();
  return loaded;
}

/** A row whose weight of each prediction is given: `weights[t]` goes with the prediction of tokens[t]. */
export interface WeightedRow {
  readonly tokens: readonly number[];
  readonly weights: readonly number[];
}

/** Rows as one batch, padded on the right to `time` with a token that must not matter. */
export function weightedInput(rows: readonly WeightedRow[], time: number, batch = rows.length): StepInput {
  return {
    batch,
    time,
    fill({ tokens, targets, weights }: BatchArrays) {
      tokens.fill(3n);
      targets.fill(5n);
      weights.fill(0);
      rows.forEach((row, at) => {
        for (let index = 0; index < row.tokens.length; index++) {
          tokens[at * time + index] = BigInt(row.tokens[index]);
          if (index + 1 === row.tokens.length) continue;
          targets[at * time + index] = BigInt(row.tokens[index + 1]);
          weights[at * time + index] = row.weights[index + 1];
        }
      });
    },
  };
}

/** Loss and gradients of one batch, by parameter name. */
export async function computeGradients(
  model: LanguageModel,
  input: StepInput,
  checkpointing = false,
): Promise<{ loss: number; gradients: Map<string, Float32Array> }> {
  const { compiler, config, lora } = model;
  const { runtime } = compiler;
  const { batch, time } = input;
  const numTokens = batch * time;
  const accumulators = new Map(
    trainableSpecs(config, lora).map(({ name, shape }) => [name, runtime.tensor('float32', shape)] as const),
  );
  const own = {
    tokens: runtime.tensor('int64', [numTokens]),
    targets: runtime.tensor('int64', [numTokens]),
    weights: runtime.tensor('float32', [numTokens]),
    positions: runtime.tensor(
      'int64',
      [batch, time],
      Array.from({ length: numTokens }, (_, index) => index % time),
    ),
    loss: runtime.tensor('float32', []),
  };
  input.fill({ tokens: own.tokens.data, targets: own.targets.data, weights: own.weights.data });
  const binding = compiler.bind(
    `gradients/${model.architectureKey}/${batch}x${time}/${checkpointing}`,
    (g) => buildAccumulateGraph(g, { config, lora, batch, time, checkpointing }),
    {
      ...modelTensors(model, time),
      ...own,
      ...Object.fromEntries([...accumulators].map(([name, tensor]) => [accumulatorName(name), tensor])),
    },
  );
  await binding.run();
  const loss = own.loss.data[0];
  const gradients = new Map([...accumulators].map(([name, { data }]) => [name, data.slice()]));
  binding.dispose();
  for (const tensor of [...accumulators.values(), ...(Object.values(own) as Tensor[])]) tensor.dispose();
  return { loss, gradients };
}

/** Largest absolute difference over the largest absolute value. */
export function relativeDifference(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(got.length, expected.length);
  let difference = 0;
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    // NaN must not hide in a comparison.
    if (!(Math.abs(got[index] - expected[index]) <= difference)) difference = Math.abs(got[index] - expected[index]);
    largest = Math.max(largest, Math.abs(expected[index]));
  }
  return difference === 0 ? 0 : difference / largest;
}

export const tinyConfig: TransformerConfig = {
  family: 'llama',
  vocabSize: 48,
  hiddenSize: 32,
  intermediateSize: 48,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headSize: 8,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  ropeScaling: { kind: 'none' },
  maxPositions: 64,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedHead: true,
  bosTokenId: undefined,
  eosTokenIds: [],
  padTokenId: undefined,
  initializerRange: 0.1,
};

/** Rows of unequal length with a rule to learn: each response token is the one before plus the row's stride. */
export function countingRows(numRows: number, vocabSize = tinyConfig.vocabSize): TrainingExample[] {
  return Array.from({ length: numRows }, (_, row) => ({
    id: `row-${row}`,
    tokens: Array.from({ length: 6 + ((row * 7) % 20) }, (_, index) => (row + index * (1 + (row % 3))) % vocabSize),
    responseStart: 2 + (row % 3),
  }));
}
