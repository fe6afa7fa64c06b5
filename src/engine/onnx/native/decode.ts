/**
 * Graphs that run many times with the same parameters, lowered to the kernels of decoding. Rows that decline leave the op to the
 * composite.
 */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import { nativeLoweringTable } from '../native-lowering-table.js';
import { lowerDecodeGated, lowerDecodeLinear, lowerDecodeSum } from './decode-linear.js';
import type { NativeLoweringTable } from './lowering.js';
import { selectLowerings } from './select.js';
import { flatName } from './unshaped.js';
import { vocabularyLowerings } from './vocabulary.js';

/** A value before its rotation, and the angles of that. */
interface Turned {
  readonly source: Value;
  /** Positions, cos, sin. */
  readonly angles: readonly Value[];
}

function beforeRotation(e: Emitter, value: Value): Turned | undefined {
  const producer = e.view.producerOf(value) as Node<'rotary'> | undefined;
  if (producer?.kind !== 'rotary' || producer.params.inverse) return undefined;
  const [source, ...angles] = producer.inputs;
  return { source, angles };
}

const withAngles = (turned: Turned | undefined, angles: readonly Value[]): boolean =>
  angles.length > 0 && angles.every((value, index) => value === turned?.angles[index]);

function lowerCachedAttention(e: Emitter, node: Node<'cachedAttention'>): boolean {
  const [q, k, v, keys, values, lengths] = node.inputs;
  if (keys.dtype !== 'bfloat16') return false;
  const tangent = e.view
    .consumersOf(node.outputs[1])
    .find((reader): reader is Node<'cachedAttentionTangent'> => reader.kind === 'cachedAttentionTangent');
  const [, , , , tq, tk, tv, tKeys, tValues] = tangent?.inputs ?? [];
  const turning = tangent === undefined ? [q, k] : [q, k, tq, tk];
  const turned = turning.map((value) => beforeRotation(e, value));
  const angles = turned[0]?.angles ?? [];
  const isTurned = turned.every((each) => withAngles(each, angles));
  const [fromQ, fromK, fromTq, fromTk] = turning.map((value, index) => (isTurned ? turned[index]!.source : value));
  const inputs = [
    ...[fromQ, fromK, v].map((value) => flatName(e, value)),
    ...(isTurned ? angles.map((value) => e.nameOf(value)) : ['', '', '']),
    ...[lengths, keys, values].map((value) => e.nameOf(value)),
    ...(tangent === undefined
      ? []
      : [...[fromTq, fromTk, tv].map((value) => flatName(e, value)), e.nameOf(tKeys), e.nameOf(tValues)]),
  ];
  const [, time, heads, size] = q.shape;
  const attributes = {
    threads: { int: e.options.numThreads },
    first: { int: node.params.firstChunk ? 1 : 0 },
    time: { int: time },
    heads: { int: heads },
    size: { int: size },
    // Short layers on blocks leave other threads asleep: to wake one for little attention takes longer than that.
    alone: { int: e.options.stored.size > 0 ? 1 : 0 },
    scale: { float: node.params.scale },
  };
  const results = [...node.outputs, ...(tangent?.outputs ?? [])];
  const outputs = results.map(({ dtype, shape }) => ({ type: dtype, shape }));
  const op = tangent === undefined ? 'DecodeAttention' : 'DecodeAttentionTangent';
  const names = e.native(op, inputs, attributes, outputs);
  results.forEach((value, index) => void e.bind(value, names[index]));
  return true;
}

/** The node of the attention whose tangent this is makes it too. */
function lowerCachedAttentionTangent(e: Emitter, node: Node<'cachedAttentionTangent'>): boolean {
  const [, keys] = node.inputs;
  if (keys.dtype !== 'bfloat16') return false;
  e.nameOf(keys);
  return node.outputs.every((value) => !e.view.isUsed(value) || e.hasFloat(value));
}

/** Rows of a table that is stored in blocks. */
function lowerGatherRows(e: Emitter, { inputs: [table, ids], outputs: [y] }: Node<'gatherRows'>): boolean {
  const stored = e.storedOf(table);
  if (stored === undefined) return false;
  const attributes = { width: { int: table.shape[1] }, format: { int: stored.format } };
  const output = { type: 'float32', shape: y.shape } as const;
  e.bind(y, e.native('GatherBlockGroups', [e.blocksOf(table), e.nameOf(ids)], attributes, [output])[0]);
  return true;
}

/** In bfloat16. */
export const decodeLoweringTable: NativeLoweringTable = {
  gatherRows: [lowerGatherRows],
  linear: [lowerDecodeLinear],
  ...vocabularyLowerings,
  ...selectLowerings,
  add: [...vocabularyLowerings.add, lowerDecodeSum],
  swiglu: [lowerDecodeGated],
  cachedAttention: [lowerCachedAttention],
  cachedAttentionTangent: [lowerCachedAttentionTangent],
};

/** In float32: layers whose weights are stored in blocks; everything else as in graphs that run with changing parameters. */
export const floatDecodeLoweringTable: NativeLoweringTable = {
  ...nativeLoweringTable,
  gatherRows: [lowerGatherRows],
  linear: [lowerDecodeLinear, ...nativeLoweringTable.linear!],
  add: [...vocabularyLowerings.add, lowerDecodeSum],
  swiglu: [lowerDecodeGated, ...nativeLoweringTable.swiglu!],
};
