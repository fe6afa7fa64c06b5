/** AdamW over all tensors as one node, and rows added to a table: float32 in every precision. */
import type { Node } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import { floatOutput } from './products.js';

export function lowerAdamw(e: Emitter, node: Node<'adamw'>): boolean {
  if (!e.options.kernels.has('AdamW')) return false;
  const { beta1, beta2, epsilon, decays } = node.params;
  const [scalars, tensors] = [node.inputs.slice(0, 4), node.inputs.slice(4)].map((values) =>
    values.map((value) => e.nameOf(value)),
  );
  const attributes = {
    beta1: { float: beta1 },
    weight1: { float: 1 - beta1 },
    beta2: { float: beta2 },
    weight2: { float: 1 - beta2 },
    epsilon: { float: epsilon },
  };
  const inputs = [...scalars, e.floats([decays.length], Float32Array.from(decays)), ...tensors];
  const outputs = node.outputs.map(({ shape }) => floatOutput(shape));
  e.native('AdamW', inputs, attributes, outputs).forEach((name, index) => {
    e.bind(node.outputs[index], name);
  });
  return true;
}

export function lowerScatterAddRows(e: Emitter, node: Node<'scatterAddRows'>): boolean {
  if (!e.options.kernels.has('ScatterAddRows')) return false;
  const inputs = node.inputs.map((value) => e.nameOf(value));
  const [name] = e.native('ScatterAddRows', inputs, {}, [floatOutput(node.outputs[0].shape)]);
  e.bind(node.outputs[0], name);
  return true;
}
