/**
 * The gated MLP: gate and up as one product whose columns stand by turns of 16, so that silu(gate)·up is work on finished pieces
 * of it, and its gradient work on the product that comes back through the down projection.
 */
import { invariant } from '../../../support/errors.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { type HalfMatrix, halfMatrix, roundUp, TILE } from '../half-matrix.js';
import { adaptedInputGradient, addedByAdapters, gradientByAdapters, type LayerGroup, layerOf } from './adapters.js';
import {
  addedInputs,
  halfOutput,
  INTERLEAVED,
  intAttributes,
  isHalfPrecision,
  isUnmade,
  optional,
  packedWeight,
  productAttributes,
  withoutLast,
} from './products.js';

interface Pair {
  readonly gate: Value;
  readonly up: Value;
  readonly x: Value;
  /** Gate and up. */
  readonly group: LayerGroup;
}

/** The pair that a value is gate or up of: two layers of one input that only a gated unit and its gradient read. */
export function gatedPair(e: Emitter, value: Value): Pair | undefined {
  const reader = e.view.consumersOf(value)[0];
  if (reader?.kind !== 'swiglu' && reader?.kind !== 'swigluBackward') return undefined;
  const [gate, up] = reader.inputs;
  if (gate === up || (value !== gate && value !== up)) return undefined;
  const layers = [gate, up].flatMap((part) => layerOf(e, part) ?? []);
  const x = layers[0]?.x;
  const isPlain = layers.length === 2 && layers.every((layer) => layer.x === x && layer.bias === undefined);
  const areOnlyGated = [gate, up].every(
    (part) =>
      !e.view.isOutput(part) &&
      e.view
        .consumersOf(part)
        .every(
          ({ kind, inputs }) =>
            (kind === 'swiglu' || kind === 'swigluBackward') &&
            inputs[0] === gate &&
            inputs[1] === up &&
            inputs[2] !== part,
        ),
  );
  if (!isPlain || !areOnlyGated) return undefined;
  return { gate, up, x, group: { layers, mode: INTERLEAVED } };
}

/** Gate and up as one interleaved matrix, and silu(gate)·up. */
function computePair(e: Emitter, { gate, x, group }: Pair): { both: HalfMatrix; gated: HalfMatrix } {
  const input = e.halfOf(x);
  const weights = group.layers.map(({ weight }) => weight);
  const { forward, rows: n } = packedWeight(e, weights, group.mode);
  const added = addedByAdapters(e, group);
  const { rows } = input;
  const width = gate.shape[1];
  const attributes = productAttributes({ x: input, columns: n, added });
  const inputs = withoutLast([input.name, forward, ...addedInputs(added)]);
  const outputs = [halfOutput([rows, n]), halfOutput([rows, n / 2])];
  const [both, gated] = e.native('LinearSwiglu', inputs, attributes, outputs);
  return {
    both: { name: both, rows, width: n, offset: 0, stride: n },
    gated: { name: gated, rows, width, offset: 0, stride: n / 2 },
  };
}

export function lowerSwiglu(e: Emitter, node: Node<'swiglu'>): boolean {
  const pair = isHalfPrecision(e) ? gatedPair(e, node.inputs[0]) : undefined;
  if (pair === undefined) return isHalfPrecision(e) && lowerApart(e, node);
  e.bindHalf(node.outputs[0], computePair(e, pair).gated);
  return true;
}

/** Gate and up that come from elsewhere (adapters, biases) or go elsewhere. */
function lowerApart(e: Emitter, { inputs, outputs }: Node<'swiglu' | 'swigluBackward'>): boolean {
  const [gate, up, dy] = inputs.map((value) => e.halfOf(value));
  const attributes = intAttributes({
    rows: gate.rows,
    width: gate.width,
    gateOffset: gate.offset,
    gateStride: gate.stride,
    upOffset: up.offset,
    upStride: up.stride,
    ...(dy !== undefined && { dyOffset: dy.offset, dyStride: dy.stride }),
  });
  const half = halfMatrix(gate.rows, gate.width);
  const names = inputs.map((_, index) => [gate, up, dy][index].name);
  e.native(
    dy === undefined ? 'Swiglu' : 'SwigluBackward',
    names,
    attributes,
    outputs.map(() => half.output),
  ).forEach((name, index) => {
    e.bindHalf(outputs[index], half.named(name));
  });
  return true;
}

/** Takes an interleaved matrix apart into the halves of two values. */
function split(e: Emitter, both: HalfMatrix, values: readonly Value[]): void {
  const width = values[0].shape[1];
  const half = halfMatrix(both.rows, width);
  const attributes = intAttributes({ rows: both.rows, width });
  e.native('SplitPair', [both.name], attributes, [half.output, half.output].map(optional)).forEach((name, index) => {
    e.bindHalf(values[index], half.named(name));
  });
}

/** Binds gate or up alone, if the value is part of a pair. */
export function splitGatedPair(e: Emitter, value: Value): boolean {
  const pair = gatedPair(e, value);
  if (pair === undefined) return false;
  split(e, computePair(e, pair).both, [pair.gate, pair.up]);
  return true;
}

interface PairGradient {
  /** Gradients of gate and up, interleaved. */
  readonly matrix: HalfMatrix;
  readonly values: readonly [Value, Value];
}

/** The interleaved gradient that a value is the gate's or the up's part of. */
export function pairGradient(e: Emitter, value: Value): PairGradient | undefined {
  const node = e.view.producerOf(value);
  if (node?.kind !== 'swigluBackward') return undefined;
  const [gate, up, dy] = node.inputs;
  const pair = gatedPair(e, gate);
  if (pair === undefined || pair.up !== up) return undefined;
  return e.once(`gradient of pair ${e.idOf(node.outputs[0])}`, () => {
    const { both } = computePair(e, pair);
    const [dGate, dUp] = node.outputs;
    const matrix = { ...both, name: pairGradientName(e, { both, dy, width: gate.shape[1] }) };
    return { matrix, values: [dGate, dUp] } as const;
  });
}

function pairGradientName(e: Emitter, { both, dy, width }: { both: HalfMatrix; dy: Value; width: number }): Name {
  const outputs = [halfOutput([both.rows, both.stride])];
  const layer = e.view.isReadOnce(dy) && isUnmade(e, dy) ? downProjection(e, dy) : undefined;
  if (layer !== undefined) {
    const x = e.halfOf(layer.dy);
    const packed = packedWeight(e, [layer.weight]);
    invariant(packed.width === roundUp(width, TILE), 'the gradient of a gated unit is as wide as the unit');
    const added = layer.group && gradientByAdapters(e, layer.group, x);
    const attributes = productAttributes({ x, columns: width, added });
    const inputs = withoutLast([x.name, packed.backward, both.name, ...addedInputs(added)]);
    return e.native('LinearSwigluGradient', inputs, attributes, outputs)[0];
  }
  const { name, rows, offset, stride } = e.halfOf(dy);
  const attributes = intAttributes({ rows, width, offset, stride });
  return e.native('SwigluPairBackward', [name, both.name], attributes, outputs)[0];
}

/** The layer that the gradient of a gated unit comes through alone. */
function downProjection(e: Emitter, dy: Value): { dy: Value; weight: Value; group?: LayerGroup } | undefined {
  const node = e.view.producerOf(dy);
  if (node?.kind !== 'linearInputGradient') return adaptedInputGradient(e, dy);
  const [dz, weight] = node.inputs;
  return { dy: dz, weight };
}

export function lowerSwigluBackward(e: Emitter, node: Node<'swigluBackward'>): boolean {
  const gradient = isHalfPrecision(e) ? pairGradient(e, node.outputs[0]) : undefined;
  if (gradient === undefined) return isHalfPrecision(e) && lowerApart(e, node);
  split(e, gradient.matrix, gradient.values);
  return true;
}
