/** Every row of every table of the engine against float64: shapes, lowerings, reverse and forward rules. */
import assert from 'node:assert/strict';
import { after as afterAll, describe, test } from 'node:test';
import { directionalDerivatives } from './autodiff/forward.js';
import { jvpRules } from './autodiff/jvp-rules.js';
import { gradients } from './autodiff/reverse.js';
import { vjpRules } from './autodiff/vjp-rules.js';
import { cases, type OpCase } from './cases.fixture.js';
import { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
import type { OpKind } from './graph/catalogue.js';
import { add, detach, multiply, reduceSum } from './graph/ops.js';
import type { Graph, Value } from './graph/types.js';
import { type Array64, array64, evaluate } from './reference.fixture.js';
import { runGraph } from './run-graph.fixture.js';
import { openRuntime } from './runtime/open.js';

const runtime = openRuntime({ threads: 2 });
afterAll(() => runtime.dispose());

const kinds = Object.keys(cases) as OpKind[];

function declare(g: GraphBuilder, { inputs }: OpCase): Value[] {
  return inputs.map(({ dtype, value }, index) => g.input(`x${index}`, dtype, value.shape));
}

function feeds({ inputs }: OpCase): Record<string, Array64> {
  return Object.fromEntries(inputs.map(({ value }, index) => [`x${index}`, value]));
}

function assertClose(actual: Array64, expected: Array64, tolerance: number, what: string): void {
  assert.deepEqual([...actual.shape], [...expected.shape], what);
  const scale = Math.max(1, ...expected.data.map(Math.abs));
  expected.data.forEach((value, index) => {
    const error = Math.abs(actual.data[index] - value);
    assert.ok(error <= tolerance * scale, `${what}[${index}]: ${actual.data[index]}, expected ${value}`);
  });
}

/** Float32 rounding over sums of at most a few dozen terms. */
const FLOAT32_TOLERANCE = 4e-6;
/** Operands rounded to 8 bits, and results of a few products in a row of them. */
const BFLOAT16_TOLERANCE = 2e-2;
/** Central differences in float64 with h = 1e-5: h² truncation and 1e-16/h rounding. */
const DIFFERENCE_TOLERANCE = 2e-8;
const STEP = 1e-5;

/** Outputs that the op promises only when they are written over the input: a cache keeps what stood in its other slots. */
const inPlace: Partial<Record<OpKind, Readonly<Record<number, string>>>> = {
  cachedAttention: { 1: 'x3', 2: 'x4' },
  cachedAttentionTangent: { 1: 'x7', 2: 'x8' },
};

const lowerings = [
  { name: 'composite', options: {}, tolerance: FLOAT32_TOLERANCE },
  { name: 'native float32', options: { kernels: runtime.kernels.ops }, tolerance: FLOAT32_TOLERANCE },
  {
    name: 'native bfloat16',
    options: { kernels: runtime.kernels.ops, precision: 'bfloat16' },
    tolerance: BFLOAT16_TOLERANCE,
  },
] as const;

for (const { name, options, tolerance } of lowerings) {
  const isMissing = 'kernels' in options && options.kernels.size === 0;
  describe(`${name} lowering`, { skip: isMissing ? `no kernels: ${runtime.kernels.reason}` : false }, () => {
    for (const kind of kinds) {
      test(`${kind}: the result is the float64 one`, async () => {
        for (const [index, opCase] of cases[kind].entries()) {
          const g = createGraphBuilder();
          g.apply(kind, declare(g, opCase), opCase.params as never).forEach((value, output) => {
            const inPlaceOf = inPlace[kind]?.[output];
            g.output(`y${output}`, value, inPlaceOf === undefined ? {} : { inPlaceOf });
          });
          const graph = g.finish();
          const expected = evaluate(graph, feeds(opCase));
          const actual = await runGraph(runtime, graph, feeds(opCase), options);
          for (const output of Object.keys(expected)) {
            assertClose(actual[output], expected[output], tolerance, `case ${index} ${output}`);
          }
        }
      });
    }
  });
}

/** Positions of the float inputs, the ones that can be differentiated. */
function floatPositions({ inputs }: OpCase): number[] {
  return inputs.flatMap(({ dtype }, index) => (dtype === 'float32' ? [index] : []));
}

/** Repeatable weights and directions. */
const wave = (shape: readonly number[], seed: number): Array64 =>
  array64(shape, (index) => Math.sin(index * 1.7 + seed));

/** Inputs without a derivative: the tables of a rotation, where none is used, and what is a constant by definition. */
const fixedInputs: Partial<Record<OpKind, readonly number[]>> = { rotary: [2, 3], detach: [0] };

/** Σ over float outputs of weight·output: a scalar that sees every output. The second output of a norm is auxiliary. */
function probe(g: GraphBuilder, kind: OpKind, outputs: readonly Value[]): Value {
  const seen = kind === 'rmsNorm' ? outputs.slice(0, 1) : outputs.filter((value) => value.dtype === 'float32');
  return seen
    .map((value, index) => {
      const weights = g.constant('float32', value.shape, Float32Array.from(wave(value.shape, index).data));
      return reduceSum(
        g,
        multiply(g, value, weights),
        value.shape.map((_, axis) => axis),
      );
    })
    .reduce((a, b) => add(g, a, b));
}

/** The probe alone, as a function of the op's inputs. */
function lossGraph(kind: OpKind, opCase: OpCase): Graph {
  const g = createGraphBuilder();
  g.output('loss', probe(g, kind, g.apply(kind, declare(g, opCase), opCase.params as never)));
  return g.finish();
}

/** Central difference of the probe when the inputs move along `directions` (by position). */
function difference(graph: Graph, opCase: OpCase, directions: ReadonlyMap<number, Array64>): number {
  const moved = (sign: number) =>
    Object.fromEntries(
      opCase.inputs.map(({ value }, index) => [
        `x${index}`,
        array64(value.shape, (at) => value.data[at] + sign * STEP * (directions.get(index)?.data[at] ?? 0)),
      ]),
    );
  return (evaluate(graph, moved(1)).loss.data[0] - evaluate(graph, moved(-1)).loss.data[0]) / (2 * STEP);
}

/** All positions of a small tensor, every so many of a large one: two evaluations each. */
function spread(size: number): number[] {
  const stride = Math.max(1, Math.floor(size / 90));
  return Array.from({ length: Math.ceil(size / stride) }, (_, nth) => nth * stride);
}

describe('reverse rules', () => {
  for (const kind of kinds) {
    const rule = vjpRules[kind];
    if (typeof rule !== 'function') {
      test(`${kind}: has no gradient, and says why`, () => assert.ok(rule.none.length > 10));
      continue;
    }
    test(`${kind}: the gradient is the limit of differences`, () => {
      for (const opCase of cases[kind]) {
        const wrt = floatPositions(opCase).filter((index) => !fixedInputs[kind]?.includes(index));
        const g = createGraphBuilder();
        const inputs = declare(g, opCase);
        const outputs = g.apply(kind, inputs, opCase.params as never);
        if (outputs.every((value) => value.dtype !== 'float32')) continue;
        const loss = probe(g, kind, outputs);
        g.output('loss', loss);
        gradients(
          g,
          loss,
          wrt.map((index) => inputs[index]),
        ).forEach((value, index) => {
          g.output(`d${wrt[index]}`, value);
        });
        const forward = lossGraph(kind, opCase);
        const actual = evaluate(g.finish(), feeds(opCase));
        for (const index of wrt) {
          const { shape } = opCase.inputs[index].value;
          const gradient = actual[`d${index}`];
          const checked = spread(gradient.data.length);
          const expected = array64([checked.length], (nth) =>
            difference(
              forward,
              opCase,
              new Map([[index, array64(shape, (other) => (other === checked[nth] ? 1 : 0))]]),
            ),
          );
          const found = array64([checked.length], (nth) => gradient.data[checked[nth]]);
          assertClose(found, expected, DIFFERENCE_TOLERANCE, `input ${index}`);
          assert.deepEqual(gradient.shape, shape);
        }
      }
    });
  }
});

describe('forward rules', () => {
  for (const kind of kinds) {
    const rule = jvpRules[kind];
    if (typeof rule !== 'function') {
      test(`${kind}: has no tangent, and says why`, () => assert.ok(rule.none.length > 10));
      continue;
    }
    test(`${kind}: the directional derivative is the limit of differences, whichever inputs move`, () => {
      for (const opCase of cases[kind]) {
        const movable = floatPositions(opCase).filter((index) => !fixedInputs[kind]?.includes(index));
        if (movable.length === 0) continue;
        for (const moving of [movable, ...movable.map((index) => [index])]) {
          const directions = new Map(moving.map((index) => [index, wave(opCase.inputs[index].value.shape, index)]));
          const g = createGraphBuilder();
          const inputs = declare(g, opCase);
          const outputs = g.apply(kind, inputs, opCase.params as never);
          if (outputs.every((value) => value.dtype !== 'float32')) continue;
          const loss = probe(g, kind, outputs);
          const seeds = new Map(
            moving.map((index) => [inputs[index], g.input(`t${index}`, 'float32', inputs[index].shape)] as const),
          );
          const [tangent] = directionalDerivatives(g, [loss], seeds);
          g.output('tangent', tangent);
          const given = Object.fromEntries(moving.map((index) => [`t${index}`, directions.get(index)!]));
          const expected = difference(lossGraph(kind, opCase), opCase, directions);
          const actual = evaluate(g.finish(), { ...feeds(opCase), ...given }).tangent.data[0];
          assert.ok(
            Math.abs(actual - expected) <= 1e-7 * Math.max(1, Math.abs(expected)),
            `moving ${moving}: ${actual}, expected ${expected}`,
          );
        }
      }
    });
  }
});

test('what is detached keeps its value and has no derivative: x·detach(x) has the gradient detach(x)', () => {
  const g = createGraphBuilder();
  const x = g.input('x', 'float32', [3]);
  const loss = reduceSum(g, multiply(g, x, detach(g, x)), [0]);
  g.output('gradient', gradients(g, loss, [x])[0]);
  g.output('tangent', directionalDerivatives(g, [loss], new Map([[x, x]]))[0]);
  g.output('constant', directionalDerivatives(g, [detach(g, x)], new Map([[x, x]]))[0]);
  const { gradient, tangent, constant } = evaluate(g.finish(), { x: array64([3], (index) => index + 1) });
  assert.deepEqual([...gradient.data, ...tangent.data, ...constant.data], [1, 2, 3, 14, 0, 0, 0]);
});
