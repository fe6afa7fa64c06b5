/** AdamW over all tensors as one node, and rows added to a table: float32 in every precision. */
import type { Node } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { floatOutput, measuredGradients } from './products.js';

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
  const n = decays.length;
  const gradients = tensors.slice(n, 2 * n);
  const squares = squaresOf(e, gradients);
  const isMeasured = gradients.map((name) => (squares.has(measuredGradients(e).get(name)?.squares ?? '') ? 1 : 0));
  const perTensor = [decays, isMeasured].map((numbers) => e.floats([n], Float32Array.from(numbers)));
  const inputs = [...scalars, ...perTensor, ...tensors, ...squares];
  const outputs = node.outputs.map(({ shape }) => floatOutput(shape));
  e.native('AdamW', inputs, attributes, outputs).forEach((name, index) => {
    e.bind(node.outputs[index], name);
  });
  return true;
}

/** Sums of squares that stand for gradients of the list: those of nodes all of whose gradients are in it. */
function squaresOf(e: Emitter, gradients: readonly Name[]): ReadonlySet<Name> {
  const given = new Set(gradients);
  const measured = gradients.flatMap((name) => measuredGradients(e).get(name) ?? []);
  const whole = measured.filter((node) => node.gradients.every((name) => given.has(name)));
  return given.size < gradients.length ? new Set() : new Set(whole.map(({ squares }) => squares));
}

export function lowerScatterAddRows(e: Emitter, node: Node<'scatterAddRows'>): boolean {
  if (!e.options.kernels.has('ScatterAddRows')) return false;
  const inputs = node.inputs.map((value) => e.nameOf(value));
  const [name] = e.native('ScatterAddRows', inputs, {}, [floatOutput(node.outputs[0].shape)]);
  e.bind(node.outputs[0], name);
  return true;
}
