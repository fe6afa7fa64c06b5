import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { directionalDerivatives } from '../autodiff/forward.js';
import { createGraphBuilder } from '../graph/builder.js';
import { add, linear } from '../graph/ops.js';
import type { Graph } from '../graph/types.js';
import { array64, evaluate } from '../reference.fixture.js';
import { runGraph } from '../run-graph.fixture.js';
import { openRuntime } from '../runtime/open.js';
import { compileGraph } from './compile.js';

const runtime = openRuntime({ threads: 1 });
after(() => runtime.dispose());
const [WIDTH, FEATURES] = [7, 5];

/** A layer and its tangent; `first` is the output that is asked for first. */
function layerWithTangent(rows: number, hasBias: boolean, first: 'y' | 'ty'): Graph {
  const g = createGraphBuilder();
  const input = (name: string, shape: number[]) => g.input(name, 'float32', shape);
  const [x, tx] = [input('x', [rows, WIDTH]), input('tx', [rows, WIDTH])];
  const [w, tw] = [input('w', [FEATURES, WIDTH]), input('tw', [FEATURES, WIDTH])];
  const [b, tb] = hasBias ? [input('b', [FEATURES]), input('tb', [FEATURES])] : [];
  const y = linear(g, x, w, b);
  const seeds = new Map([[x, tx] as const, [w, tw] as const, ...(b && tb ? [[b, tb] as const] : [])]);
  const [ty] = directionalDerivatives(g, [y], seeds);
  const outputs = { y, ty };
  for (const name of first === 'y' ? (['y', 'ty'] as const) : (['ty', 'y'] as const)) g.output(name, outputs[name]);
  return g.finish();
}

const numbersFor = (graph: Graph) =>
  Object.fromEntries(
    graph.inputs.map(({ name, value: { shape } }, seed) => [
      name,
      array64(shape, (index) => Math.fround(Math.sin(index * 1.37 + seed))),
    ]),
  );

async function assertAsInFloat64(graph: Graph): Promise<void> {
  const given = numbersFor(graph);
  const expected = evaluate(graph, given);
  for (const kernels of [new Set<string>(), runtime.kernels.ops]) {
    const found = await runGraph(runtime, graph, given, { kernels });
    for (const [name, { data }] of Object.entries(found))
      data.forEach((value, at) => {
        assert.ok(Math.abs(value - expected[name].data[at]) < 1e-5, `${name}[${at}] is ${value}`);
      });
  }
}

test('a layer and its tangent are one product where rows are few, with the numbers of float64', async () => {
  for (const first of ['y', 'ty'] as const)
    for (const hasBias of [false, true])
      for (const rows of [1, 3, 16, 40]) {
        const graph = layerWithTangent(rows, hasBias, first);
        await assertAsInFloat64(graph);
        const { bytes } = compileGraph(graph, { numThreads: 1 });
        assert.equal(Buffer.from(bytes).includes('Concat'), rows <= 32, `${rows} rows`);
      }
});

test('a layer that is applied twice looks like a tangent and is none', async () => {
  const g = createGraphBuilder();
  const x = g.input('x', 'float32', [2, WIDTH]);
  const w = g.input('w', 'float32', [WIDTH, WIDTH]);
  const v = g.input('v', 'float32', [WIDTH, WIDTH]);
  const y = linear(g, x, w);
  g.output('z', add(g, linear(g, y, w), linear(g, x, v)));
  await assertAsInFloat64(g.finish());
});
