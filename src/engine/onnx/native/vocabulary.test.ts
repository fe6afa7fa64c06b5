/** Steps over rows of a vocabulary's width: the kernels against float64, and that graphs are lowered to them. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createRandom } from '../../../support/random.js';
import { directionalDerivatives } from '../../autodiff/forward.js';
import { createCompiler } from '../../compiler.js';
import { createGraphBuilder, type GraphBuilder } from '../../graph/builder.js';
import {
  add,
  argMax,
  cast,
  concat,
  cumulativeSum,
  exponential,
  fill,
  gatherElements,
  lessOrEqual,
  logSoftmax,
  multiply,
  negate,
  reduceMax,
  reduceSum,
  reshape,
  select,
  slice,
  softmax,
  subtract,
} from '../../graph/ops.js';
import type { Value } from '../../graph/types.js';
import { openRuntime } from '../../runtime/open.js';
import { compileGraph } from '../compile.js';

const runtime = openRuntime({ threads: 2 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});
const skip = runtime.kernels.ops.has('FloatDraw') ? false : 'no kernels';

const ROWS = 5;
const random = createRandom('vocabulary');
const logProbs = (row: readonly number[]): number[] => {
  const most = Math.max(...row);
  const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return row.map((value) => value - most - total);
};

/** x + u·Δ, where Δ is t less its mean under softmax x; with a limit where x is at least that alone. */
function tilted(g: GraphBuilder, { x, t, u }: Record<'x' | 't' | 'u', Value>, limit?: number) {
  const moved = limit === undefined ? t : select(g, lessOrEqual(g, fill(g, [], limit), x), t, fill(g, [], 0));
  const delta = subtract(g, moved, reduceSum(g, multiply(g, softmax(g, x), moved), [1], true));
  return { y: add(g, x, multiply(g, u, delta)), delta };
}

const meanOf = (x: readonly number[], t: readonly number[]): number =>
  logProbs(x).reduce((sum, value, id) => sum + Math.exp(value) * t[id], 0);

/** The first id whose cumulative probability exceeds u: how many do not. */
function drawn(g: GraphBuilder, x: Value, u: Value): Value {
  const width = x.shape[1];
  const cumulative = cumulativeSum(g, softmax(g, x));
  const last = slice(g, cumulative, { axis: 1, start: width - 1, end: width });
  const passed = lessOrEqual(g, cumulative, multiply(g, u, last));
  return cast(g, reduceSum(g, cast(g, passed, 'float32'), [1]), 'int64');
}

function firstAbove(x: readonly number[], u: number): number {
  let below = 0;
  return logProbs(x).findIndex((value) => {
    below += Math.exp(value);
    return below > u;
  });
}

/** What each step gives for rows x and t, one number or one row a row. */
interface Step {
  readonly op: string;
  /** An op that must not stand in the model. */
  readonly without?: string;
  build(g: GraphBuilder, given: { x: Value; t: Value; u: Value; ids: Value }): Value;
  truth(x: readonly number[], t: readonly number[], u: number, ids: readonly number[]): readonly number[];
}

const STEPS: Readonly<Record<string, Step>> = {
  'log-probabilities of chosen tokens': {
    op: 'FloatLogprob',
    build: (g, { x, ids }) => gatherElements(g, logSoftmax(g, x), ids),
    truth: (x, _t, _u, ids) => ids.map((id) => logProbs(x)[id]),
  },
  'how log-probabilities move': {
    op: 'FloatLogprobTangent',
    build: (g, { x, t }) => directionalDerivatives(g, [logSoftmax(g, x)], new Map([[x, t]]))[0],
    truth(x, t) {
      const mean = meanOf(x, t);
      return t.map((value) => value - mean);
    },
  },
  'tilted logits': {
    op: 'FloatTilt',
    build: (g, { x, t, u }) => tilted(g, { x, t, u }).y,
    truth(x, t, u) {
      const mean = meanOf(x, t);
      return x.map((value, id) => value + u * (t[id] - mean));
    },
  },
  'tilted logits of which some are left out': {
    op: 'FloatTilt',
    build: (g, { x, t, u }) => tilted(g, { x, t, u }, -20).y,
    truth(x, t, u) {
      const left = x.map((value) => (value >= -20 ? value : -1e38));
      const mean = meanOf(left, t);
      return x.map((value, id) => (value >= -20 ? value + u * (t[id] - mean) : value));
    },
  },
  'its divergence, beside Δ of chosen ids': {
    op: 'FloatTilt',
    build(g, { x, t, u, ids }) {
      const { y, delta } = tilted(g, { x, t, u });
      const [a, b] = [logSoftmax(g, y), logSoftmax(g, x)];
      const divergence = reduceSum(g, multiply(g, exponential(g, a), subtract(g, a, b)), [1], true);
      return concat(g, [divergence, gatherElements(g, delta, ids)], 1);
    },
    truth(x, t, u, ids) {
      const mean = meanOf(x, t);
      const [a, b] = [logProbs(x.map((value, id) => value + u * (t[id] - mean))), logProbs(x)];
      return [
        a.reduce((sum, value, id) => sum + (value < -1e30 ? 0 : Math.exp(value) * (value - b[id])), 0),
        ...ids.map((id) => t[id] - mean),
      ];
    },
  },
  'divergence of two distributions': {
    op: 'FloatDivergence',
    build(g, { x, t }) {
      const [a, b] = [logSoftmax(g, x), logSoftmax(g, t)];
      return reduceSum(g, multiply(g, exponential(g, a), subtract(g, a, b)), [1], true);
    },
    truth(x, t) {
      const [a, b] = [logProbs(x), logProbs(t)];
      return [a.reduce((sum, value, id) => sum + Math.exp(value) * (value - b[id]), 0)];
    },
  },
  'what is left near the likeliest': {
    op: 'FloatMinP',
    build: (g, { x, u }) =>
      select(g, lessOrEqual(g, add(g, reduceMax(g, x, [1], true), negate(g, u)), x), x, fill(g, [], -1e30)),
    truth(x, _, u) {
      const least = Math.fround(Math.max(...x) - u);
      return x.map((value) => (value >= least ? value : -1e30));
    },
  },
  'a draw': {
    op: 'FloatDraw',
    build: (g, { x, u }) => drawn(g, x, u),
    truth: (x, _, u) => [firstAbove(x, u)],
  },
  'a draw from tilted logits, beside their divergence': {
    op: 'FloatTilt',
    without: 'FloatDraw',
    build(g, { x, t, u }) {
      const { y } = tilted(g, { x, t, u });
      const [a, b] = [logSoftmax(g, y), logSoftmax(g, x)];
      const divergence = reduceSum(g, multiply(g, exponential(g, a), subtract(g, a, b)), [1], true);
      const ids = reshape(g, cast(g, drawn(g, y, u), 'float32'), divergence.shape);
      return concat(g, [divergence, ids], 1);
    },
    truth(x, t, u) {
      const mean = meanOf(x, t);
      const y = x.map((value, id) => value + u * (t[id] - mean));
      const [a, b] = [logProbs(y), logProbs(x)];
      return [
        a.reduce((sum, value, id) => sum + (value < -1e30 ? 0 : Math.exp(value) * (value - b[id])), 0),
        firstAbove(y, u),
      ];
    },
  },
  'the mode': {
    op: 'FloatArgmax',
    build: (g, { x }) => argMax(g, x),
    truth: (x) => [x.indexOf(Math.max(...x))],
  },
};

describe('a row of', { skip }, () => {
  for (const width of [1, 7, 16, 300, 5003]) {
    for (const [name, { op, without, build, truth }] of Object.entries(STEPS)) {
      test(`${width}: ${name}, as in float64`, async () => {
        const numbers = () => Float32Array.from({ length: ROWS * width }, () => 2 * random.normal());
        const given = {
          x: runtime.tensor('float32', [ROWS, width], numbers()),
          t: runtime.tensor('float32', [ROWS, width], numbers()),
          u: runtime.tensor('float32', [ROWS, 1], [0, 0.25, 0.5, 0.99, 1 - 2 ** -24]),
          ids: runtime.tensor(
            'int64',
            [ROWS, 2],
            Array.from({ length: ROWS * 2 }, () => random.integer(width)),
          ),
        };
        // Ties: the first counts. A token that is excluded is never drawn.
        given.x.data.fill(6, width - 1, width);
        if (width > 7) given.x.data.set([6, -1e38], 3);
        const make = (g: GraphBuilder): void => {
          const inputs = Object.fromEntries(
            Object.entries(given).map(([key, { dtype, shape }]) => [key, g.input(key, dtype, shape)]),
          ) as Record<keyof typeof given, Value>;
          g.output('y', build(g, inputs));
        };
        const g = createGraphBuilder();
        make(g);
        const graph = g.finish();
        const { bytes, outputs } = compileGraph(graph, { numThreads: 2, kernels: runtime.kernels.ops });
        assert.ok(Buffer.from(bytes).includes(op), `not lowered to ${op}`);
        assert.ok(without === undefined || !Buffer.from(bytes).includes(without), `${without} beside ${op}`);
        const y = runtime.tensor(outputs.y.dtype, outputs.y.shape);
        const binding = compiler.bind(`${width}/${name}`, make, { ...given, y });
        await binding.run();
        const perRow = y.data.length / ROWS;
        for (let row = 0; row < ROWS; row++) {
          const rowOf = (data: Float32Array) => [...data.subarray(row * width, (row + 1) * width)];
          const ids = [0, 1].map((at) => Number(given.ids.data[row * 2 + at]));
          const expected = truth(rowOf(given.x.data), rowOf(given.t.data), given.u.data[row], ids);
          for (const [at, value] of expected.entries()) {
            const got = Number(y.data[row * perRow + at]);
            // Sums of 5,000 terms in float32.
            assert.ok(Math.abs(got - value) <= 1e-5 * Math.max(1, Math.abs(value)), `row ${row}: ${got}, not ${value}`);
          }
        }
        binding.dispose();
        for (const tensor of [...Object.values(given), y]) tensor.dispose();
      });
    }
  }
});
