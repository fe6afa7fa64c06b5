/** Runs a graph once on given numbers. */
import type { Graph } from './graph/types.js';
import { compileGraph } from './onnx/compile.js';
import type { LoweringOptions } from './onnx/emitter.js';
import type { Array64 } from './reference.fixture.js';
import type { Runtime } from './runtime/types.js';

export async function runGraph(
  runtime: Runtime,
  graph: Graph,
  given: Readonly<Record<string, Array64>>,
  options: Partial<LoweringOptions> = {},
): Promise<Record<string, Array64>> {
  const model = compileGraph(graph, { numThreads: runtime.numThreads, ...options });
  const session = runtime.session(model);
  const inputs = Object.fromEntries(
    Object.entries(model.inputs).map(([name, { dtype, shape }]) => [
      name,
      runtime.tensor(
        dtype,
        shape,
        dtype === 'int64' ? BigInt64Array.from(given[name].data, BigInt) : (given[name].data as never),
      ),
    ]),
  );
  const outputs = Object.fromEntries(
    Object.entries(model.outputs).map(([name, { dtype, shape, inPlaceOf }]) => [
      name,
      inPlaceOf === undefined ? runtime.tensor(dtype, shape) : inputs[inPlaceOf],
    ]),
  );
  const binding = session.bind(inputs, outputs);
  await binding.run();
  const result = Object.fromEntries(
    Object.entries(outputs).map(([name, { shape, data }]) => [
      name,
      { shape, data: Float64Array.from(data as ArrayLike<number | bigint>, Number) },
    ]),
  );
  binding.dispose();
  session.dispose();
  for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.dispose();
  return result;
}
