/**
 * Graphs in, tensors out: build a graph, differentiate it, run it.
 *
 * ```ts
 * const runtime = openRuntime();
 * const compiler = createCompiler(runtime);
 * const x = runtime.tensor('float32', [3], [1, 2, 3]);
 * const gradient = runtime.tensor('float32', [3]);
 * const binding = compiler.bind('squares', (g) => {
 *   const input = g.input('x', 'float32', [3]);
 *   const loss = ops.reduceSum(g, ops.multiply(g, input, input), [0]);
 *   g.output('gradient', gradients(g, loss, [input])[0]);
 * }, { x, gradient });
 * await binding.run(); // gradient.data is 2, 4, 6
 * ```
 */
export { directionalDerivatives } from './autodiff/forward.js';
export { gradients } from './autodiff/reverse.js';
export { type Compiler, createCompiler } from './compiler.js';
export { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
export type { OpKind, OpParams } from './graph/catalogue.js';
export { hashGraph } from './graph/hash.js';
export * as ops from './graph/ops.js';
export { printGraph } from './graph/print.js';
export type { Constant, Dtype, Graph, GraphInput, GraphOutput, Node, Shape, Value } from './graph/types.js';
export { compileGraph } from './onnx/compile.js';
export { openRuntime, type RuntimeOptions } from './runtime/open.js';
export type { Binding, CompiledModel, Runtime, Session, Tensor, TensorMap } from './runtime/types.js';
