/** RMSNorm and its gradient; the residual that is added to the gradient is added on the way. */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { halfMatrix, matrixOf } from '../half-matrix.js';
import { floatOutput, intAttributes, isHalfPrecision, isUnmade, optional, wantsHalf } from './products.js';

export function lowerRmsNorm(e: Emitter, node: Node<'rmsNorm'>): boolean {
  const [x, gain] = node.inputs;
  const [y, r] = node.outputs;
  if (!isHalfPrecision(e) || !wantsHalf(e, y)) return false;
  const { rows, width } = matrixOf(x.shape);
  const half = halfMatrix(rows, width);
  const attributes = { ...intAttributes({ rows, width }), epsilon: { float: node.params.epsilon } };
  const outputs = [half.output, optional(floatOutput(r.shape))];
  const [name, inverse] = e.native('RmsNorm', [e.nameOf(x), e.nameOf(gain)], attributes, outputs);
  e.bindHalf(y, half.named(name));
  e.bind(r, inverse);
  return true;
}

/** Emits the gradient; `sum` is the value that dx (+ residual) is, in both forms. */
export function emitNormGradient(e: Emitter, node: Node, sum: Value, residual: Name | undefined): void {
  const [x, gain, r, dy] = node.inputs;
  const dh = e.halfOf(dy);
  const half = halfMatrix(dh.rows, dh.width);
  const { rows, width, offset, stride } = dh;
  const inputs = [dh.name, e.nameOf(x), e.nameOf(gain), e.nameOf(r), ...(residual === undefined ? [] : [residual])];
  const outputs = [floatOutput(x.shape), half.output, floatOutput(gain.shape)].map(optional);
  const attributes = intAttributes({ rows, width, offset, stride });
  const [dx, dxHalf, dGain] = e.native('RmsNormBackward', inputs, attributes, outputs);
  e.bind(sum, dx);
  e.bindHalf(sum, half.named(dxHalf));
  e.bind(node.outputs[1], dGain);
}

export function lowerRmsNormBackward(e: Emitter, node: Node<'rmsNormBackward'>): boolean {
  if (!isHalfPrecision(e)) return false;
  const [dx, dGain] = node.outputs;
  // A sum that reads dx alone takes the kernel in; it may be asked for the gain's gradient first.
  for (const sum of sumsAbove(e, dx)) e.demand(sum);
  if (isUnmade(e, dGain)) emitNormGradient(e, node as Node, dx, undefined);
  return true;
}

/** The outermost of the sums that the value goes into alone. */
function sumsAbove(e: Emitter, value: Value): Node[] {
  let outermost: Node | undefined;
  let current = value;
  while (e.view.isReadOnce(current)) {
    const [reader] = e.view.consumersOf(current);
    if (reader.kind !== 'add') break;
    outermost = reader;
    [current] = reader.outputs;
  }
  return outermost === undefined ? [] : [outermost];
}
