import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { gradients } from '../../engine/autodiff/reverse.js';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createRandom } from '../../support/random.js';
import { declareInputs } from '../../training/objective.js';
import { DIVERGENCES, type WhiteBoxConfig, whiteBoxSchema } from './config.js';
import { divergenceLoss } from './divergence.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const N = 3;
const C = 4;
const V = 7;
const random = createRandom('divergences');
const normals = (size: number, scale = 1) => Float32Array.from({ length: size }, () => scale * random.normal());
const hidden = normals(N * C);
const head = normals(V * C);
const teacherLogits = Array.from({ length: N }, () => [...normals(V, 2)]);
const targets = [5, 0, 2];
const weights = [0.5, 0, 0.25];

function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** The student's logits of a row, in float64. */
const studentLogits = (row: number, at: ArrayLike<number> = hidden): number[] =>
  Array.from({ length: V }, (_, v) => {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += at[row * C + c] * head[v * C + c];
    return sum;
  });

/** Cells of a distribution: the tokens `ids` one by one, then all others. */
const cells = (probabilities: readonly number[], ids: readonly number[]): number[] => [
  ...ids.map((id) => probabilities[id]),
  probabilities.reduce((sum, probability, id) => sum + (ids.includes(id) ? 0 : probability), 0),
];

const kl = (p: readonly number[], q: readonly number[]): number =>
  p.reduce((sum, value, cell) => sum + (value > 0 ? value * Math.log(value / q[cell]) : 0), 0);

const idsOf = (row: number, k: number): number[] =>
  Array.from({ length: V }, (_, id) => id)
    .sort((a, b) => teacherLogits[row][b] - teacherLogits[row][a])
    .slice(0, k);

/** The loss by its definition, in float64. */
function expectedLoss(config: WhiteBoxConfig, k: number, at: ArrayLike<number>): number {
  const { temperature, beta, divergence, hardFraction } = config;
  let loss = 0;
  for (let row = 0; row < N; row++) {
    const logits = studentLogits(row, at);
    const tempered = (values: readonly number[]) => softmax(values.map((value) => value / temperature));
    const p = cells(tempered(teacherLogits[row]), idsOf(row, k));
    const q = cells(tempered(logits), idsOf(row, k));
    const mixture = p.map((value, cell) => beta * value + (1 - beta) * q[cell]);
    const value = {
      forwardKl: () => kl(p, q),
      reverseKl: () => kl(q, p),
      jensenShannon: () => beta * kl(p, mixture) + (1 - beta) * kl(q, mixture),
    }[divergence]();
    const hard = -Math.log(softmax(logits)[targets[row]]);
    loss += weights[row] * ((1 - hardFraction) * temperature ** 2 * value + hardFraction * hard);
  }
  return loss;
}

async function computed(config: WhiteBoxConfig, k: number): Promise<{ loss: number; gradient: Float32Array }> {
  const tokenLoss = divergenceLoss(config, k);
  const shape = { batch: 1, time: N };
  const probabilities = teacherLogits.map((logits) => softmax(logits.map((value) => value / config.temperature)));
  const teacherCells = probabilities.map((row, at) => cells(row, idsOf(at, k)));
  const tensors = {
    hidden: runtime.tensor('float32', [N, C], hidden),
    head: runtime.tensor('float32', [V, C], head),
    targets: runtime.tensor('int64', [N], BigInt64Array.from(targets.map(BigInt))),
    weights: runtime.tensor('float32', [N], weights),
    teacherIds: runtime.tensor(
      'int64',
      [N, k],
      BigInt64Array.from([0, 1, 2].flatMap((row) => idsOf(row, k)).map(BigInt)),
    ),
    teacherLogprobs: runtime.tensor(
      'float32',
      [N, k],
      teacherCells.flatMap((row) => row.slice(0, k).map(Math.log)),
    ),
    teacherTail: runtime.tensor(
      'float32',
      [N, 1],
      teacherCells.map((row) => row[k]),
    ),
    loss: runtime.tensor('float32', []),
    gradient: runtime.tensor('float32', [N, C]),
  };
  const binding = compiler.bind(
    `divergence/${tokenLoss.key}`,
    (g) => {
      const at = {
        hidden: g.input('hidden', 'float32', [N, C]),
        head: g.input('head', 'float32', [V, C]),
        inputs: declareInputs(g, tokenLoss.inputs(shape)),
        shape,
      };
      const { loss } = tokenLoss.build(g, at);
      g.output('loss', loss);
      g.output('gradient', gradients(g, loss, [at.hidden])[0]);
    },
    tensors,
  );
  await binding.run();
  const result = { loss: tensors.loss.data[0], gradient: tensors.gradient.data.slice() };
  binding.dispose();
  for (const tensor of Object.values(tensors)) tensor.dispose();
  return result;
}

describe('divergences', () => {
  for (const divergence of DIVERGENCES) {
    for (const settings of [
      { k: V, temperature: 1 },
      { k: 3, temperature: 2, beta: 0.3 },
      { k: 2, temperature: 0.7, hardFraction: 0.25 },
    ]) {
      test(`${divergence} ${JSON.stringify(settings)}: loss and gradient are those of the definition`, async () => {
        const { k, ...rest } = settings;
        const config = whiteBoxSchema.parse({ divergence, ...rest });
        const { loss, gradient } = await computed(config, k);
        const expected = expectedLoss(config, k, hidden);
        assert.ok(Math.abs(loss - expected) < 2e-6 * Math.max(1, expected), `${loss}, expected ${expected}`);
        const step = 1e-5;
        for (let index = 0; index < N * C; index++) {
          const moved = (by: number) =>
            expectedLoss(
              config,
              k,
              Float64Array.from(hidden, (value, at) => value + (at === index ? by : 0)),
            );
          const slope = (moved(step) - moved(-step)) / (2 * step);
          assert.ok(Math.abs(gradient[index] - slope) < 5e-6, `${index}: ${gradient[index]}, expected ${slope}`);
        }
      });
    }
  }

  test('the forward KL moves logits by T·(q − p), the closed form', async () => {
    const config = whiteBoxSchema.parse({ temperature: 3 });
    const { gradient } = await computed(config, V);
    for (let row = 0; row < N; row++) {
      const p = softmax(teacherLogits[row].map((value) => value / 3));
      const q = softmax(studentLogits(row).map((value) => value / 3));
      for (let c = 0; c < C; c++) {
        const expected = weights[row] * 3 * q.reduce((sum, value, v) => sum + (value - p[v]) * head[v * C + c], 0);
        assert.ok(Math.abs(gradient[row * C + c] - expected) < 5e-6);
      }
    }
  });
});
