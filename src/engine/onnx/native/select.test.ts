/** The largest numbers of rows, and what is left above a bound: that graphs are lowered to the kernels, which give what the runtime's own ops do. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createRandom } from '../../../support/random.js';
import { createGraphBuilder } from '../../graph/builder.js';
import { fill, lessOrEqual, negate, scalar, select, slice, softmax, topK } from '../../graph/ops.js';
import type { Graph } from '../../graph/types.js';
import { array64 } from '../../reference.fixture.js';
import { runGraph } from '../../run-graph.fixture.js';
import { openRuntime } from '../../runtime/open.js';
import { compileGraph } from '../compile.js';

const runtime = openRuntime({ threads: 2 });
after(() => runtime.dispose());
const skip = runtime.kernels.ops.has('FloatTopK') ? false : 'no kernels';
const native = { kernels: runtime.kernels.ops };
const isLowered = (graph: Graph, op: string): boolean =>
  [false, true].every((constantWeights) =>
    Buffer.from(compileGraph(graph, { numThreads: 2, ...native, constantWeights }).bytes).includes(op),
  );

const ROWS = 3;
const random = createRandom('select');
const NUMBERS: Readonly<Record<string, () => number>> = {
  'normal numbers': () => Math.fround(random.normal()),
  'few values': () => random.integer(7) - 3,
  'equal numbers': () => -1e30,
  'infinities and zeros': () => [Infinity, -Infinity, 0, -0, 1][random.integer(5)],
};

describe('the largest of rows', { skip }, () => {
  for (const [width, counts] of [
    [1, [1]],
    [17, [1, 16, 17]],
    [300, [1, 50, 299]],
    [20_011, [1, 64, 1024, 12_000]],
  ] as const) {
    for (const [name, next] of Object.entries(NUMBERS)) {
      test(`${width}, ${name}: values and ids are those of the portable lowering`, async () => {
        const x = array64([ROWS, width], next);
        for (const count of counts) {
          const g = createGraphBuilder();
          const { values, ids } = topK(g, g.input('x', 'float32', [ROWS, width]), count);
          g.output('values', values);
          g.output('ids', ids);
          const graph = g.finish();
          assert.ok(isLowered(graph, 'FloatTopK'));
          const [got, expected] = [
            await runGraph(runtime, graph, { x }, native),
            await runGraph(runtime, graph, { x }),
          ];
          assert.deepEqual(got.values.data, expected.values.data);
          assert.deepEqual(got.ids.data, expected.ids.data);
        }
      });
    }
  }

  test('either result alone is what it is beside the other', async () => {
    const x = array64([ROWS, 500], NUMBERS['few values']);
    const results = await Promise.all(
      [['values'], ['ids'], ['values', 'ids']].map((names) => {
        const g = createGraphBuilder();
        const made = topK(g, g.input('x', 'float32', [ROWS, 500]), 40);
        for (const name of names) g.output(name, made[name as 'values' | 'ids']);
        return runGraph(runtime, g.finish(), { x }, native);
      }),
    );
    const [values, ids, both] = results;
    assert.deepEqual({ ...values, ...ids }, both);
  });
});

describe('what a bound leaves', { skip }, () => {
  for (const width of [1, 17, 5003]) {
    test(`${width}: of probabilities and of the numbers themselves, as the portable lowering has it`, async () => {
      const x = array64([ROWS, width], NUMBERS['normal numbers']);
      const count = Math.ceil(width / 3);
      const g = createGraphBuilder();
      const values = g.input('x', 'float32', [ROWS, width]);
      for (const [name, scores] of [
        ['likely', softmax(g, values)],
        ['large', values],
      ] as const) {
        const least = slice(g, topK(g, scores, count).values, { axis: 1, start: count - 1, end: count });
        g.output(name, select(g, lessOrEqual(g, least, scores), values, fill(g, [], -7)));
      }
      const graph = g.finish();
      assert.ok(isLowered(graph, 'FloatKeep'));
      const [got, expected] = [await runGraph(runtime, graph, { x }, native), await runGraph(runtime, graph, { x })];
      assert.deepEqual(got, expected);
      const numLeft = got.large.data.filter((value) => value !== -7).length;
      assert.equal(numLeft, ROWS * count);
    });
  }

  test('one bound for all rows, and a choice between two rows, stay with the runtime', async () => {
    const x = array64([ROWS, 40], NUMBERS['few values']);
    const g = createGraphBuilder();
    const values = g.input('x', 'float32', [ROWS, 40]);
    const first = slice(g, values, { axis: 1, start: 0, end: 1 });
    g.output('all', select(g, lessOrEqual(g, scalar(g, 1), values), values, fill(g, [], -7)));
    g.output('other', select(g, lessOrEqual(g, first, values), values, negate(g, values)));
    const graph = g.finish();
    assert.ok(!isLowered(graph, 'FloatKeep'));
    assert.deepEqual(await runGraph(runtime, graph, { x }, native), await runGraph(runtime, graph, { x }));
  });
});
