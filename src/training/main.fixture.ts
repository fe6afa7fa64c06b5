/** Programs that tests run in a process of their own: `train FOLDER`, `gradients FILE THREADS`, `memory true|false`. */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { writeSafetensors } from '../model/files/safetensors-write.js';
import { createModel } from '../model/language-model.js';
import { sha256 } from '../support/hash.js';
import { createRandom } from '../support/random.js';
import { trainingSchema } from './config.js';
import { estimateTrainingBytes } from './memory-estimate.js';
import { trainModel } from './train.js';
import { computeGradients, countingRows, relativeDifference, tinyConfig } from './training.fixture.js';

const [program, argument, threads = '1'] = process.argv.slice(2);
const runtime = openRuntime({ threads: Number(threads) });
const compiler = createCompiler(runtime);
const say = (value: unknown) => writeSync(1, `${JSON.stringify(value)}\n`);

/** Trains with pauses, so that there is time to be killed; says each step and, last, the hash of all weights. */
async function train(folder: string): Promise<void> {
  const model = createModel(compiler, tinyConfig, createRandom(1));
  const config = trainingSchema.parse({
    epochs: 4,
    batchSize: 5,
    microBatchTokens: 64,
    learningRate: 1e-2,
    checkpointEverySteps: 4,
    evaluateEverySteps: 1,
  });
  const { isComplete } = await trainModel(model, countingRows(43), config, {
    folder,
    onStep: ({ step, lossNats }) => say({ step, lossNats }),
    evaluate: () => sleep(4),
    log: (notice) => say({ notice }),
  });
  const bytes = [...model.parameters.values()].map(({ data }) =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  );
  say({ isComplete, hash: sha256(Buffer.concat(bytes)) });
}

/** Gradients of a batch in which few tokens repeat often, 50 times over: the first, and how far the others are from it. */
async function repeatGradients(file: string): Promise<void> {
  // Wide rows: the runtime shares a scatter out between threads only where it is worth it.
  const config = { ...tinyConfig, vocabSize: 512, hiddenSize: 320, intermediateSize: 128, headSize: 16, numLayers: 1 };
  const model = createModel(compiler, config, createRandom(2));
  const [batch, time] = [8, 128];
  const random = createRandom(3);
  const ids = Array.from({ length: batch * time + 1 }, () => random.integer(5));
  const input = {
    batch,
    time,
    fill: (arrays: { tokens: BigInt64Array; targets: BigInt64Array; weights: Float32Array }) => {
      arrays.tokens.set(ids.slice(0, -1).map(BigInt));
      arrays.targets.set(ids.slice(1).map(BigInt));
      arrays.weights.fill(1 / (batch * time));
    },
  };
  const { gradients: first } = await computeGradients(model, input);
  let worst = 0;

  for (let repetition = 1; repetition < 50; repetition++) {
    const { gradients } = await computeGradients(model, input);
    for (const [name, data] of gradients) worst = Math.max(worst, relativeDifference(data, first.get(name)!));
  }
  const tensors = [...first].map(([name, values]) => ({ name, shape: [values.length], values }));
  await writeSafetensors(file, tensors);
  say({ worst });
}

/** Peak memory of two steps of a model whose activations outweigh its weights. */
async function measureMemory(activationCheckpointing: boolean): Promise<void> {
  const model = createModel(
    compiler,
    { ...tinyConfig, hiddenSize: 128, intermediateSize: 384, headSize: 32, numLayers: 8, maxPositions: 256 },
    createRandom(1),
  ); // prettier-ignore
  const rows = Array.from({ length: 4 }, (_, row) => ({
    id: `${row}`,
    tokens: Array.from({ length: 256 }, (_unused, index) => (index + row) % 48),
    responseStart: 1,
  }));
  const config = trainingSchema.parse({ batchSize: 4, epochs: 2, activationCheckpointing });
  const { lossNats } = await trainModel(model, rows, config);
  const estimate = estimateTrainingBytes(model.config, { batch: 4, time: 256, checkpointing: activationCheckpointing });
  say({ lossNats, peakBytes: process.resourceUsage().maxRSS * 1024, estimatedBytes: estimate.totalBytes });
}

if (program === 'train') await train(argument);
else if (program === 'gradients') await repeatGradients(argument);
else await measureMemory(argument === 'true');
