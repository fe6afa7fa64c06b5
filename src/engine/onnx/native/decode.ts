/**
 * Graphs that run many times with the same parameters, lowered to the kernels of decoding: linear layers on packed weights with
 * the norm before them and what follows them inside, attention against a bfloat16 cache with the rotary embedding inside.
 * Rows that decline leave the op to the composite.
 */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { matrixOf } from '../half-matrix.js';
import type { NativeLoweringTable } from '../native-lowering-table.js';

/** Layers that one op computes from the same input. */
const MAX_PARTS = 4;

/** The value that this one is, but for its shape: kernels take extents from attributes. */
function unshaped(e: Emitter, value: Value): Value {
  const producer = e.view.producerOf(value);
  return producer?.kind === 'reshape' ? unshaped(e, producer.inputs[0]) : value;
}

const flatName = (e: Emitter, value: Value): Name => e.nameOf(unshaped(e, value));

const isPackable = (e: Emitter, { kind, inputs }: Node): boolean => kind === 'linear' && e.view.isInput(inputs[1]);

/** The linear layer that makes a value for one reader alone. */
function ownLinear(e: Emitter, value: Value): Node | undefined {
  const producer = e.view.producerOf(value);
  const isOwn = producer !== undefined && isPackable(e, producer) && e.view.isReadOnce(value) && !e.hasFloat(value);
  return isOwn ? producer : undefined;
}

/** The norm whose result is x, if the kernel can compute it on the way. */
function normBefore(e: Emitter, x: Value): { x: Value; gain: Value; epsilon: number } | undefined {
  const source = unshaped(e, x);
  const producer = e.view.producerOf(source);
  if (producer?.kind !== 'rmsNorm' || source !== producer.outputs[0] || e.hasFloat(source)) return undefined;
  const [before, gain] = producer.inputs;
  if (matrixOf(source.shape).width !== matrixOf(x.shape).width) return undefined;
  return { x: before, gain, epsilon: (producer as Node<'rmsNorm'>).params.epsilon };
}

/** Emits layers of one input as one node; binds `results`. */
function emitLinears(
  e: Emitter,
  layers: readonly Node[],
  { results, residual, isGated = false }: { results: readonly Value[]; residual?: Value; isGated?: boolean },
): void {
  const [x] = layers[0].inputs;
  const norm = normBefore(e, x);
  const { rows, width } = matrixOf(x.shape);
  const parts = Array.from({ length: MAX_PARTS }, (_, index) => layers[index]?.inputs[2]);
  const inputs = [
    flatName(e, norm?.x ?? x),
    norm === undefined ? '' : e.nameOf(norm.gain),
    residual === undefined ? '' : flatName(e, residual),
    ...parts.map((bias) => (bias === undefined ? '' : e.nameOf(bias))),
    ...layers.map(({ inputs: [, weight] }) => e.packedOf(weight)),
  ];
  const attributes = {
    threads: { int: e.options.numThreads },
    gated: { int: isGated ? 1 : 0 },
    rows: { int: rows },
    features: { int: width },
    ...Object.fromEntries(layers.map(({ inputs: [, weight] }, index) => [`n${index}`, { int: weight.shape[0] }])),
    ...(norm !== undefined && { epsilon: { float: norm.epsilon } }),
  };
  const outputs = results.map(({ shape }) => ({ type: 'float32', shape }) as const);
  e.native('DecodeLinear', inputs, attributes, outputs).forEach((name, index) => {
    e.bind(results[index], name);
  });
}

function lowerLinear(e: Emitter, node: Node<'linear'>): boolean {
  if (!isPackable(e, node)) return false;
  const [x] = node.inputs;
  const beside = e.view
    .consumersOf(x)
    .filter(
      (other) => other !== node && isPackable(e, other) && other.inputs[0] === x && !e.hasFloat(other.outputs[0]),
    );
  const layers = [node, ...beside.slice(0, MAX_PARTS - 1)];
  emitLinears(e, layers, { results: layers.map(({ outputs }) => outputs[0]) });
  return true;
}

function lowerAdd(e: Emitter, node: Node<'add'>): boolean {
  const [a, b] = node.inputs;
  const [sum] = node.outputs;
  if (a.shape.join() !== sum.shape.join() || b.shape.join() !== sum.shape.join()) return false;
  for (const [value, residual] of [
    [b, a],
    [a, b],
  ]) {
    const layer = ownLinear(e, value);
    if (layer === undefined || value === residual) continue;
    emitLinears(e, [layer], { results: [sum], residual });
    return true;
  }
  return false;
}

function lowerSwiglu(e: Emitter, node: Node<'swiglu'>): boolean {
  const [gate, up] = node.inputs.map((value) => ownLinear(e, value));
  if (gate === undefined || up === undefined || gate.inputs[0] !== up.inputs[0]) return false;
  emitLinears(e, [gate, up], { results: node.outputs, isGated: true });
  return true;
}

/** The rotation that makes a value. */
function rotationOf(e: Emitter, value: Value): Node<'rotary'> | undefined {
  const producer = e.view.producerOf(value) as Node<'rotary'> | undefined;
  return producer?.kind === 'rotary' && !producer.params.inverse ? producer : undefined;
}

function lowerCachedAttention(e: Emitter, node: Node<'cachedAttention'>): boolean {
  const [q, k, v, keys, values, lengths] = node.inputs;
  if (keys.dtype !== 'bfloat16') return false;
  const [turnedQ, turnedK] = [rotationOf(e, q), rotationOf(e, k)];
  const angles = turnedQ?.inputs.slice(1);
  const isShared = angles !== undefined && angles.every((value, index) => value === turnedK?.inputs[index + 1]);
  const inputs = [
    flatName(e, isShared ? turnedQ!.inputs[0] : q),
    flatName(e, isShared ? turnedK!.inputs[0] : k),
    flatName(e, v),
    ...(isShared ? angles.map((value) => e.nameOf(value)) : ['', '', '']),
    ...[lengths, keys, values].map((value) => e.nameOf(value)),
  ];
  const [, time, heads, size] = q.shape;
  const attributes = {
    threads: { int: e.options.numThreads },
    first: { int: node.params.firstChunk ? 1 : 0 },
    time: { int: time },
    heads: { int: heads },
    size: { int: size },
    scale: { float: node.params.scale },
  };
  const outputs = node.outputs.map(({ dtype, shape }) => ({ type: dtype, shape }));
  e.native('DecodeAttention', inputs, attributes, outputs).forEach((name, index) => {
    e.bind(node.outputs[index], name);
  });
  return true;
}

export const decodeLoweringTable: NativeLoweringTable = {
  linear: [lowerLinear],
  add: [lowerAdd],
  swiglu: [lowerSwiglu],
  cachedAttention: [lowerCachedAttention],
};
