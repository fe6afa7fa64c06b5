/** Causal attention and its gradient, with the rotation of queries and keys inside where the graph has it. */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { type HalfMatrix, roundUp, TILE } from '../half-matrix.js';
import { floatOutput, halfOutput, intAttributes, isHalfPrecision, optional } from './products.js';

/** Widest head that the kernels take. */
const MAX_HEAD_SIZE = 256;

/** Queries and keys as they are before rotation, and the tables they are rotated by; or as they are, and no tables. */
interface Heads {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  /** positions, cos, sin */
  readonly tables: readonly Value[];
}

const rotationOf = (e: Emitter, value: Value): Node<'rotary'> | undefined => {
  const node = e.view.producerOf(value);
  return node?.kind === 'rotary' && !(node as Node<'rotary'>).params.inverse ? (node as Node<'rotary'>) : undefined;
};

function headsOf(e: Emitter, [q, k, v]: readonly Value[]): Heads {
  const [turnedQ, turnedK] = [rotationOf(e, q), rotationOf(e, k)];
  const tables = turnedQ?.inputs.slice(1) ?? [];
  const isShared = tables.length > 0 && tables.every((table, index) => table === turnedK?.inputs[index + 1]);
  return isShared ? { q: turnedQ!.inputs[0], k: turnedK!.inputs[0], v, tables } : { q, k, v, tables: [] };
}

/** Heads [B, T, n, D] as a matrix [B·T, n·D]. */
const asMatrix = (e: Emitter, value: Value): HalfMatrix => e.halfOf(value, value.shape[2] * value.shape[3]);

function describe(e: Emitter, heads: Heads, scale: number) {
  const [batch, time, numHeads, size] = heads.q.shape;
  const [q, k, v] = [heads.q, heads.k, heads.v].map((value) => asMatrix(e, value));
  const attributes = {
    ...intAttributes({ batch, time, heads: numHeads, groups: heads.k.shape[2], size }),
    ...intAttributes({ qOffset: q.offset, qStride: q.stride, kOffset: k.offset, kStride: k.stride }),
    ...intAttributes({ vOffset: v.offset, vStride: v.stride }),
    scale: { float: scale },
  };
  return { names: [q.name, k.name, v.name], attributes, tables: heads.tables.map((table) => e.nameOf(table)) };
}

/** o and the log-sums that the gradient needs. */
function forward(e: Emitter, inputs: readonly Value[], scale: number): { o: HalfMatrix; logSums: Name } {
  const heads = headsOf(e, inputs);
  const [batch, time, numHeads, size] = heads.q.shape;
  const { names, attributes, tables } = describe(e, heads, scale);
  const [rows, width] = [batch * time, numHeads * size];
  const stride = roundUp(width, TILE);
  const outputs = [halfOutput([rows, stride]), optional(floatOutput([batch, numHeads, time]))];
  const [name, logSums] = e.native('Attention', [...names, ...tables], attributes, outputs);
  return { o: { name, rows, width, offset: 0, stride }, logSums };
}

const isSupported = (e: Emitter, { inputs: [q] }: Node): boolean =>
  isHalfPrecision(e) && roundUp(q.shape[3], TILE) <= MAX_HEAD_SIZE && q.shape[3] % 2 === 0;

export function lowerAttention(e: Emitter, node: Node<'attention'>): boolean {
  if (!isSupported(e, node as Node)) return false;
  e.bindHalf(node.outputs[0], forward(e, node.inputs, node.params.scale).o);
  return true;
}

export function lowerAttentionBackward(e: Emitter, node: Node<'attentionBackward'>): boolean {
  if (!isSupported(e, node as Node)) return false;
  const { scale } = node.params;
  const [q, k, v, output, dOutput] = node.inputs;
  const [dq, dk, dv] = node.outputs;
  const { logSums } = forward(e, [q, k, v], scale);
  const heads = headsOf(e, node.inputs);
  // The kernel rotates the gradients back if that is all that becomes of them.
  const back = heads.tables.length > 0 ? [dq, dk].map((value) => rotationBack(e, value, heads.tables)) : [];
  const isFused = back.length === 2 && back.every((value) => value !== undefined);
  const used = isFused || heads.tables.length === 0 ? heads : { q, k, v, tables: [] };
  const { names, attributes, tables } = describe(e, used, scale);
  const [o, dO] = [asMatrix(e, output), asMatrix(e, dOutput)];
  const [batch, time, numHeads, size] = q.shape;
  const rows = batch * time;
  const widths = [numHeads * size, k.shape[2] * size, k.shape[2] * size];
  const stride = widths.reduce((sum, width) => sum + roundUp(width, TILE), 0);
  const [name] = e.native(
    'AttentionBackward',
    [...names, o.name, dO.name, logSums, ...tables],
    {
      ...attributes,
      ...intAttributes({ oOffset: o.offset, oStride: o.stride, dOffset: dO.offset, dStride: dO.stride }),
    },
    [halfOutput([rows, stride])],
  );
  const targets = isFused ? [back[0]!, back[1]!, dv] : [dq, dk, dv];
  let offset = 0;
  targets.forEach((value, index) => {
    e.bindHalf(value, { name, rows, width: widths[index], offset, stride });
    offset += roundUp(widths[index], TILE);
  });
  return true;
}

/** The inverse rotation of a gradient, if nothing else reads it. */
function rotationBack(e: Emitter, value: Value, tables: readonly Value[]): Value | undefined {
  const [reader] = e.view.consumersOf(value);
  if (!e.view.isReadOnce(value) || reader.kind !== 'rotary' || !(reader as Node<'rotary'>).params.inverse)
    return undefined;
  return tables.every((table, index) => reader.inputs[index + 1] === table) ? reader.outputs[0] : undefined;
}

/** The result of a rotation back is bound by the gradient of attention, if that takes the rotation in. */
export function lowerRotary(e: Emitter, node: Node<'rotary'>): boolean {
  const producer = e.view.producerOf(node.inputs[0]);
  if (!isHalfPrecision(e) || !node.params.inverse || producer?.kind !== 'attentionBackward') return false;
  e.demand(producer);
  return e.hasHalf(node.outputs[0]);
}

/** The same elements: what kernels take needs no node. */
export function lowerReshape(e: Emitter, node: Node<'reshape'>): boolean {
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (!isHalfPrecision(e) || x.dtype !== 'float32' || x.shape.length === 0) return false;
  const producer = e.view.producerOf(x);
  if (producer !== undefined && isNotMade(e, x)) e.demand(producer);
  if (!e.hasHalf(x)) return false;
  e.bindHalf(y, e.halfOf(x, e.halfWidthOf(x)));
  if (e.hasFloat(x)) e.bind(y, e.node('Reshape', [e.nameOf(x), e.ints(node.params.shape)])[0]);
  return true;
}

const isNotMade = (e: Emitter, value: Value): boolean => !e.hasFloat(value) && !e.hasHalf(value);
