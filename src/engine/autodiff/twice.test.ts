/** Gradients by what nodes compute, and losses that contain a gradient, in the tests' float64 reference. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createGraphBuilder, type GraphBuilder } from '../graph/builder.js';
import { add, attention, linear, multiply, reduceSum, reshape, rmsNorm, swiglu } from '../graph/ops.js';
import type { Value } from '../graph/types.js';
import { type Array64, array64, evaluate } from '../reference.fixture.js';
import { expandComposites } from './expand.js';
import { gradients } from './reverse.js';

const SHAPES = { x: [6, 4], gain: [4], q: [8, 4], k: [4, 4], v: [4, 4], gate: [8, 8], up: [8, 8], out: [1, 8] };
type Name = keyof typeof SHAPES;
const names = Object.keys(SHAPES) as Name[];

const inputs = (): Record<Name, Array64> =>
  Object.fromEntries(
    names.map((name, seed) => [name, array64(SHAPES[name], (index) => Math.sin(1.3 * index + seed) * 0.8 + 0.1)]),
  ) as Record<Name, Array64>;

/** A layer with every composite: 2 rows of 3 tokens, 4 query heads, 2 key/value heads; a score [6, 1] for each token. */
function layer(g: GraphBuilder, of: Record<Name, Value>): { embedded: Value; scores: Value } {
  const embedded = add(g, of.x, of.x);
  const h = rmsNorm(g, embedded, of.gain, 1e-5);
  const heads = (x: Value, count: number) => reshape(g, x, [2, 3, count, 2]);
  const q = heads(linear(g, h, of.q), 4);
  const mixed = attention(g, q, heads(linear(g, h, of.k), 2), heads(linear(g, h, of.v), 2), 0.7);
  const attended = reshape(g, mixed, [6, 8]);
  return { embedded, scores: linear(g, swiglu(g, linear(g, attended, of.gate), linear(g, attended, of.up)), of.out) };
}

function graphOf(build: (g: GraphBuilder, of: Record<Name, Value>) => void) {
  const g = createGraphBuilder();
  build(
    g,
    Object.fromEntries(names.map((name) => [name, g.input(name, 'float32', SHAPES[name])])) as Record<Name, Value>,
  );
  return g.finish();
}

const square = (g: GraphBuilder, x: Value): Value => reduceSum(g, multiply(g, x, x), [0, 1]);

/** ‖∂Σ scores/∂embedded‖². */
function penalty(g: GraphBuilder, of: Record<Name, Value>): Value {
  const { embedded, scores } = layer(g, of);
  return square(g, gradients(g, reduceSum(g, scores, [0, 1]), [embedded])[0]);
}

const close = (got: Array64, expected: ArrayLike<number>, tolerance: number) =>
  got.data.forEach((value, index) => {
    assert.ok(Math.abs(value - expected[index]) < tolerance, `${index}: ${value}, expected ${expected[index]}`);
  });

describe('written out, a layer', () => {
  const whole = graphOf((g, of) => g.output('y', layer(g, of).scores));
  const expanded = graphOf((g, of) => g.output('y', layer(expandComposites(g), of).scores));

  test('holds no composite, and gives the same values', () => {
    const kinds = expanded.nodes.map(({ kind }) => kind);
    assert.ok(!kinds.some((kind) => ['rmsNorm', 'swiglu', 'attention'].includes(kind)));
    close(evaluate(expanded, inputs()).y, evaluate(whole, inputs()).y.data, 1e-7);
  });

  test('has the gradient of its composites by an inner value, which the walk passes', () => {
    const byBoth = (expand: boolean) =>
      graphOf((g, of) => {
        const { embedded, scores } = layer(expand ? expandComposites(g) : g, of);
        const [inner, outer] = gradients(g, square(g, scores), [embedded, of.x]);
        g.output('inner', inner);
        g.output('outer', outer);
      });
    const expected = evaluate(byBoth(false), inputs());
    const got = evaluate(byBoth(true), inputs());
    close(got.inner, expected.inner.data, 1e-6);
    // embedded = x + x: every derivative counts twice.
    close(
      got.outer,
      got.inner.data.map((value) => 2 * value),
      1e-6,
    );
    assert.ok(
      got.inner.data.some((value) => Math.abs(value) > 1e-3),
      'the gradient is not nothing',
    );
  });

  test('the gradient of the size of a gradient is its central difference, by every tensor', () => {
    const graph = graphOf((g, of) => {
      const loss = penalty(expandComposites(g), of);
      g.output('loss', loss);
      gradients(
        g,
        loss,
        names.map((name) => of[name]),
      ).forEach((value, at) => {
        g.output(`d.${names[at]}`, value);
      });
    });
    const alone = graphOf((g, of) => g.output('loss', penalty(expandComposites(g), of)));
    const analytic = evaluate(graph, inputs());
    const step = 1e-5;
    for (const name of names) {
      const gradient = analytic[`d.${name}`];
      assert.ok(
        gradient.data.some((value) => Math.abs(value) > 1e-4),
        `${name} matters`,
      );
      for (let index = 0; index < gradient.data.length; index += 3) {
        const moved = (by: number) => {
          const values = inputs();
          values[name].data[index] += by;
          return evaluate(alone, values).loss.data[0];
        };
        const slope = (moved(step) - moved(-step)) / (2 * step);
        assert.ok(Math.abs(gradient.data[index] - slope) < 1e-5 * Math.max(1, Math.abs(slope)), `${name} ${index}`);
      }
    }
  });

  test('as composites it has no second gradient, and says so', () => {
    assert.throws(
      () =>
        graphOf((g, of) => {
          gradients(g, penalty(g, of), [of.q]);
        }),
      /itself a derivative/,
    );
  });
});
