/**
 * Ops as native kernels in float32 (kernels/float_*_each.c). They exist on every instruction set: what they fuse is bound by memory
 * in standard nodes. Products by weights of many rows stay with the runtime, which is as fast.
 */
import type { OpKind } from '../../graph/catalogue.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import type { Attribute } from '../model-writer.js';

/** Emits one float32 kernel on the node's `inputs`; declines where the runtime has none of that name. */
function emitFloat(
  e: Emitter,
  op: string,
  { inputs, outputs }: { inputs: readonly Value[]; outputs: readonly Value[] },
  attributes: Record<string, Attribute> = {},
): boolean {
  if (!e.options.kernels.has(op)) return false;
  const names = e.native(
    op,
    inputs.map((value) => e.nameOf(value)),
    attributes,
    outputs.map(({ shape }) => ({ type: 'float32', shape })),
  );
  for (const [index, value] of outputs.entries()) e.bind(value, names[index]);
  return true;
}

/** The op is one kernel with the same inputs and outputs. */
const same =
  <K extends OpKind>(op: string, attributes: (params: Node<K>['params']) => Record<string, Attribute> = () => ({})) =>
  (e: Emitter, node: Node<K>): boolean =>
    emitFloat(e, op, node, attributes(node.params));

const scaled = ({ scale }: { scale: number }) => ({ scale: { float: scale } });
const cached = ({ scale, firstChunk }: { scale: number; firstChunk: boolean }) => ({
  scale: { float: scale },
  first: { int: firstChunk ? 1 : 0 },
});

export const floatRmsNorm = same<'rmsNorm'>('FloatNorm', ({ epsilon }) => ({ epsilon: { float: epsilon } }));
export const floatRmsNormBackward = same<'rmsNormBackward'>('FloatNormBackward');
export const floatRmsNormTangent = same<'rmsNormTangent'>('FloatNormTangent');
export const floatSwiglu = same<'swiglu'>('FloatSwiglu');
export const floatSwigluBackward = same<'swigluBackward'>('FloatSwigluBackward');
export const floatSwigluTangent = same<'swigluTangent'>('FloatSwigluTangent');
export const floatRotary = same<'rotary'>('FloatRotary', ({ inverse }) => ({ inverse: { int: inverse ? 1 : 0 } }));
export const floatAttention = same<'attention'>('FloatAttention', scaled);
export const floatAttentionBackward = same<'attentionBackward'>('FloatAttentionBackward', scaled);

/** The tangent makes the forward result anew instead of reading it. */
export function floatAttentionTangent(e: Emitter, { inputs, outputs, params }: Node<'attentionTangent'>): boolean {
  const [q, k, v, , ...moved] = inputs;
  return emitFloat(e, 'FloatAttentionTangent', { inputs: [q, k, v, ...moved], outputs }, scaled(params));
}

/** Each row is read to its own length: the greatest one is not needed. */
export const floatCachedAttention = (e: Emitter, { inputs, outputs, params }: Node<'cachedAttention'>): boolean =>
  emitFloat(e, 'FloatCachedAttention', { inputs: inputs.slice(0, 6), outputs }, cached(params));

export const floatCachedAttentionTangent = same<'cachedAttentionTangent'>('FloatCachedAttentionTangent', cached);
