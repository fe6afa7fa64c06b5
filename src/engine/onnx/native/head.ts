/** The language-model head with cross-entropy: loss and gradients in one sweep, logits never materialised. */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import { halfMatrix } from '../half-matrix.js';
import { floatOutput, intAttributes, isHalfPrecision, optional, packedWeight } from './products.js';

function sweep(e: Emitter, [x, w, targets, weights]: readonly Value[]) {
  const input = e.halfOf(x);
  const { forward, backward } = packedWeight(e, [w]);
  const half = halfMatrix(input.rows, input.width);
  const [loss, nll, dx, dw] = e.native(
    'HeadLoss',
    [input.name, forward, backward, e.nameOf(w), e.nameOf(targets), e.nameOf(scaled(e, weights))],
    intAttributes({ tokens: input.rows, offset: input.offset, stride: input.stride }),
    [floatOutput([]), floatOutput(targets.shape), half.output, floatOutput(w.shape)].map(optional),
  );
  return { loss, nll, dx: half.named(dx), dw };
}

/** The value before multiplications by one: the gradient of a loss by itself. */
function scaled(e: Emitter, value: Value): Value {
  const node = e.view.producerOf(value);
  if (node?.kind !== 'multiply') return value;
  const [a, b] = node.inputs;
  if (b.shape.length === 0 && e.view.constantOf(b) === 1) return scaled(e, a);
  if (a.shape.length === 0 && e.view.constantOf(a) === 1) return scaled(e, b);
  return value;
}

export function lowerHeadLoss(e: Emitter, node: Node<'headLoss'>): boolean {
  if (!isHalfPrecision(e)) return false;
  const { loss, nll } = sweep(e, node.inputs);
  e.bind(node.outputs[0], loss);
  e.bind(node.outputs[1], nll);
  return true;
}

export function lowerHeadLossBackward(e: Emitter, node: Node<'headLossBackward'>): boolean {
  if (!isHalfPrecision(e)) return false;
  const { dx, dw } = sweep(e, node.inputs);
  e.bindHalf(node.outputs[0], dx);
  e.bind(node.outputs[1], dw);
  return true;
}
