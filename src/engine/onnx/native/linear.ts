/** Linear layers and their gradients as packed products in bfloat16; layers of one input as one product. */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { type HalfMatrix, roundUp, TILE } from '../half-matrix.js';
import { lowerAdapterGradient } from './adapter-gradients.js';
import { addedByAdapters, type Layer, layerOf, MAX_ADAPTED } from './adapters.js';
import { gatedPair, pairGradient, splitGatedPair } from './gated.js';
import {
  floatOutput,
  floatProduct,
  halfProduct,
  INTERLEAVED,
  intAttributes,
  isHalfPrecision,
  isUnmade,
  measuredGradients,
  optional,
  packedWeight,
  STACKED,
  unscaled,
  wantsHalf,
} from './products.js';

/** Layers that one product computes. */
const MAX_GROUP = 10;

const widthOf = ({ shape }: Value): number => shape[shape.length - 1];

export function lowerLinear(e: Emitter, node: Node<'linear'>): boolean {
  if (!isHalfPrecision(e)) return false;
  const [x, weight, bias] = node.inputs;
  const [y] = node.outputs;
  if (splitGatedPair(e, y)) return true;
  if (!wantsHalf(e, y)) {
    const { forward, rows } = packedWeight(e, [weight]);
    const operands = { x: e.halfOf(x), weight: forward, n: rows, columns: widthOf(y) };
    e.bind(y, floatProduct(e, { ...operands, bias: bias && e.nameOf(bias) }));
    return true;
  }
  return lowerLayers(e, layerOf(e, y) ?? { result: y, x, weight, bias, adapter: undefined });
}

/** A layer whose result is wanted as bfloat16, with those beside it. */
export function lowerLayers(e: Emitter, layer: Layer): boolean {
  const { x, bias, result } = layer;
  const layers = e.view.isInput(layer.weight) ? layersBeside(e, layer) : [layer];
  const weights = layers.map(({ weight }) => weight);
  const { forward, rows } = packedWeight(e, weights);
  const columns = layers.length === 1 ? widthOf(result) : rows;
  const whole = halfProduct(e, {
    x: e.halfOf(x),
    weight: forward,
    n: rows,
    columns,
    bias: bias && stackedBias(e, layers),
    added: addedByAdapters(e, { layers, mode: STACKED }),
  });
  let offset = 0;
  for (const { result: each } of layers) {
    const width = widthOf(each);
    e.bindHalf(each, { ...whole, width, offset });
    offset += roundUp(width, TILE);
  }
  return true;
}

/** Layers with the same input whose results are wanted in the same form, this one included, in order of the graph. */
function layersBeside(e: Emitter, layer: Layer): readonly Layer[] {
  const { x, bias } = layer;
  const readers = new Set(e.view.consumersOf(x).filter(({ kind, inputs }) => kind === 'linear' && inputs[0] === x));
  const all = [...readers].flatMap((node) => layerThrough(e, node) ?? []);
  const hidden = new Set(all.map(({ adapter }) => adapter?.hidden));
  const fitting = all.filter(
    (other) =>
      (other.bias === undefined) === (bias === undefined) &&
      !hidden.has(other.result) &&
      isUnmade(e, other.result) &&
      wantsHalf(e, other.result) &&
      gatedPair(e, other.result) === undefined,
  );
  const most = hidden.size > 1 || !hidden.has(undefined) ? MAX_ADAPTED : MAX_GROUP;
  const isGroup = fitting.length <= most && fitting.some(({ result }) => result === layer.result);
  return isGroup ? fitting : [layer];
}

/** The layer that a product belongs to, with its adapter if it has one. */
function layerThrough(e: Emitter, { outputs: [y] }: Node): Layer | undefined {
  const [reader] = e.view.consumersOf(y);
  const sum = e.view.isReadOnce(y) && reader.kind === 'add' ? layerOf(e, reader.outputs[0]) : undefined;
  return sum?.adapter === undefined ? layerOf(e, y) : sum;
}

/** Biases as one vector over the padded columns of a group. */
function stackedBias(e: Emitter, layers: readonly Layer[]): Name {
  const parts = layers.flatMap(({ bias }) => {
    const padding = layers.length === 1 ? 0 : roundUp(bias!.shape[0], TILE) - bias!.shape[0];
    const zeros = () => e.cached(`zeros ${padding}`, [padding], () => new Float32Array(padding));
    return padding === 0 ? [e.nameOf(bias!)] : [e.nameOf(bias!), zeros()];
  });
  return parts.length === 1 ? parts[0] : e.node('Concat', parts, { axis: { int: 0 } })[0];
}

export function lowerLinearInputGradient(e: Emitter, node: Node<'linearInputGradient'>): boolean {
  if (!isHalfPrecision(e)) return false;
  const [scaledDy, weight] = node.inputs;
  const { value: dy, alpha } = unscaled(e, scaledDy);
  const [dx] = node.outputs;
  const { backward, width } = packedWeight(e, [weight]);
  const product = { x: e.halfOf(dy), weight: backward, n: width, columns: widthOf(dx), alpha };
  if (wantsHalf(e, dx)) e.bindHalf(dx, halfProduct(e, product));
  else e.bind(dx, floatProduct(e, product));
  return true;
}

/** dyᵀ·x [O, I] of all weights whose dy are columns of one matrix and whose x is the same. */
export function lowerLinearWeightGradient(e: Emitter, node: Node<'linearWeightGradient'>): boolean {
  if (!isHalfPrecision(e)) return false;
  if (lowerAdapterGradient(e, node)) return true;
  const [dy, x] = node.inputs;
  const { value: source, alpha } = unscaled(e, dy);
  if (alpha !== 1) {
    emitWeightGradient(e, [node as Node], e.halfOf(source), { mode: STACKED, alpha });
    return true;
  }
  const beside = e.view.consumersOf(x).filter((other) => other.kind === node.kind && other.inputs[1] === x);
  const gradient = pairGradient(e, dy);
  if (gradient !== undefined) {
    const both = gradient.values.map((value) => beside.find(({ inputs }) => inputs[0] === value));
    if (both.every((other) => other !== undefined)) {
      emitWeightGradient(e, both, gradient.matrix, { mode: INTERLEAVED });
      return true;
    }
  }
  const matrix = e.halfOf(dy);
  const group = beside
    .filter(({ inputs: [other], outputs: [dw] }) => origin(e, other) === origin(e, dy) && isUnmade(e, dw))
    .map((other) => ({ other, part: e.halfOf(other.inputs[0]) }))
    .sort((a, b) => a.part.offset - b.part.offset);
  const isRun = group.every(
    ({ part }, index) =>
      part.name === matrix.name && part.offset === (index === 0 ? part.offset : endOf(group[index - 1].part)),
  );
  if (isRun && group.length <= MAX_GROUP) {
    emitWeightGradient(
      e,
      group.map(({ other }) => other),
      group[0].part,
      { mode: STACKED },
    );
  } else emitWeightGradient(e, [node as Node], matrix, { mode: STACKED });
  return true;
}

/** Where the next matrix begins if it stands beside this one. */
export const endOf = ({ offset, width }: HalfMatrix): number => offset + roundUp(width, TILE);

/** The node a gradient comes from, rotations and reshaping aside; the value itself for an input. */
function origin(e: Emitter, value: Value): Node | Value {
  const producer = e.view.producerOf(value);
  if (producer === undefined) return value;
  return producer.kind === 'reshape' || producer.kind === 'rotary' ? origin(e, producer.inputs[0]) : producer;
}

function emitWeightGradient(
  e: Emitter,
  nodes: readonly Node[],
  dy: HalfMatrix,
  { mode, alpha = 1 }: { mode: number; alpha?: number },
): void {
  const x = e.halfOf(nodes[0].inputs[1]);
  const attributes = {
    ...intAttributes({
      tokens: x.rows,
      mode,
      dyOffset: dy.offset,
      dyStride: dy.stride,
      xOffset: x.offset,
      xStride: x.stride,
      width: x.width,
      ...Object.fromEntries(nodes.map(({ outputs: [dw] }, index) => [`rows${index}`, dw.shape[0]])),
    }),
    alpha: { float: alpha },
  };
  const outputs = [optional(floatOutput([])), ...nodes.map(({ outputs: [dw] }) => floatOutput(dw.shape))];
  const [squares, ...gradients] = e.native('WeightGradient', [dy.name, x.name], attributes, outputs);
  gradients.forEach((name, index) => {
    e.bind(nodes[index].outputs[0], name);
    measuredGradients(e).set(name, { squares, gradients });
  });
}
