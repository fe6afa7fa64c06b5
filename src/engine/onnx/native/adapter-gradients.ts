/** Gradients of low-rank adapters: those of layers that were computed as one are one node, where their dy still stand beside each other. */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { type HalfMatrix, roundUp, TILE } from '../half-matrix.js';
import {
  gradientByAdapters,
  groupAttributes,
  hiddenGradient,
  hiddenOf,
  type Layer,
  type LayerGroup,
  placeOf,
  rankOffset,
  unscaledBy,
} from './adapters.js';
import { pairGradient } from './gated.js';
import { type AddedProduct, floatOutput, INTERLEAVED, intAttributes, STACKED } from './products.js';

/** Values of the layers of a group; undefined for layers without an adapter. */
type PerLayer = readonly (Value | undefined)[];

/** The one matrix in which the gradients dy of a group's results stand as the results did. */
function gradientMatrix(e: Emitter, { layers, mode }: LayerGroup, dys: PerLayer): HalfMatrix | undefined {
  const first = dys.findIndex((dy) => dy !== undefined);
  const pair = layers.length > 1 ? pairGradient(e, dys[first]!) : undefined;
  if (mode === INTERLEAVED || pair !== undefined) {
    const isSame = mode === INTERLEAVED && dys.every((dy, index) => dy === undefined || dy === pair?.values[index]);
    return isSame ? pair?.matrix : undefined;
  }
  const starts = layers.map((_, index) => paddedRows(layers.slice(0, index)));
  const width = paddedRows(layers);
  const parts = dys.map((dy) => dy && e.halfOf(dy));
  const { name, offset, stride } = parts[first]!;
  const base = offset - starts[first];
  const areBeside = parts.every(
    (part, index) => part === undefined || (part.name === name && part.offset === base + starts[index]),
  );
  return areBeside && base >= 0 && base + width <= stride ? { ...parts[first]!, offset: base, width } : undefined;
}

const paddedRows = (layers: readonly Layer[]): number =>
  layers.reduce((sum, { weight }) => sum + roundUp(weight.shape[0], TILE), 0);

/** Of a value's readers the only one of a kind. */
function readerOf(e: Emitter, value: Value, kind: Node['kind'], position: number): Node | undefined {
  const readers = e.view.consumersOf(value).filter((node) => node.kind === kind && node.inputs[position] === value);
  return readers.length === 1 ? readers[0] : undefined;
}

interface HiddenGradients {
  readonly group: LayerGroup;
  /** Of the value that was asked for. */
  readonly index: number;
  readonly dhs: PerLayer;
  /** dh side by side, and Aᵀ's operand. */
  readonly product: AddedProduct;
}

/** The gradients by hidden values that dh is computed with: those of its group, or it alone. Undefined: dh is none. */
export function hiddenGradients(e: Emitter, dh: Value): HiddenGradients | undefined {
  const own = hiddenGradient(e, dh);
  if (own === undefined) return undefined;
  const { group, index } = own;
  const gradients = group.layers.map(({ adapter }) => {
    const node = adapter && readerOf(e, adapter.b, 'linearInputGradient', 1);
    const gradient = node && hiddenGradient(e, node.outputs[0]);
    return gradient && { dh: node!.outputs[0], dy: gradient.dy };
  });
  const isKnown = group.layers.every(
    ({ adapter }, place) => (adapter === undefined) === (gradients[place] === undefined),
  );
  const dys = gradients.map((gradient) => gradient?.dy);
  const matrix = isKnown && dys[index] === own.dy ? gradientMatrix(e, group, dys) : undefined;
  if (matrix !== undefined) {
    const dhs = gradients.map((gradient) => gradient?.dh);
    return { group, index, dhs, product: gradientByAdapters(e, group, matrix) };
  }
  const alone: LayerGroup = { layers: [group.layers[index]], mode: STACKED };
  return { group: alone, index: 0, dhs: [dh], product: gradientByAdapters(e, alone, e.halfOf(own.dy)) };
}

/** dA = dhᵀ·x or dB = s·dyᵀ·h, if that is what the node computes. */
export function lowerAdapterGradient(e: Emitter, node: Node<'linearWeightGradient'>): boolean {
  return lowerGradientOfA(e, node) || lowerGradientOfB(e, node);
}

function lowerGradientOfA(e: Emitter, node: Node<'linearWeightGradient'>): boolean {
  const [dh, x] = node.inputs;
  const gradients = hiddenGradients(e, dh);
  if (gradients === undefined) return false;
  const { group, index, product } = gradients;
  const names = adapterGradient(e, { group, left: product.x, right: e.halfOf(x), isB: 0 });
  e.bind(node.outputs[0], names[index]!);
  return true;
}

function lowerGradientOfB(e: Emitter, node: Node<'linearWeightGradient'>): boolean {
  const [scaledDy, h] = node.inputs;
  const place = placeOf(e, h);
  const own = place?.group.layers[place.index];
  const dy = own?.adapter?.hidden === h ? unscaledBy(e, scaledDy, own.adapter.scale) : undefined;
  if (place === undefined || dy === undefined) return false;
  const { group, index } = place;
  const dys = group.layers.map(({ adapter }) => {
    const reader = adapter && readerOf(e, adapter.hidden, node.kind, 1);
    return reader && unscaledBy(e, reader.inputs[0], adapter.scale);
  });
  const isKnown = group.layers.every(({ adapter }, at) => (adapter === undefined) === (dys[at] === undefined));
  const matrix = isKnown && dys[index] === dy ? gradientMatrix(e, group, dys) : undefined;
  const left = hiddenOf(e, group);
  const alone: LayerGroup = { layers: [own!], mode: STACKED };
  const names =
    matrix === undefined
      ? adapterGradient(e, {
          group: alone,
          left: { ...left, offset: rankOffset(group, index) },
          right: e.halfOf(dy),
          isB: 1,
        })
      : adapterGradient(e, { group, left, right: matrix, isB: 1 });
  e.bind(node.outputs[0], names[matrix === undefined ? 0 : index]!);
  return true;
}

interface Operands {
  readonly group: LayerGroup;
  /** h or dh */
  readonly left: HalfMatrix;
  /** dy or x */
  readonly right: HalfMatrix;
  readonly isB: 0 | 1;
}

/** Gradients of all A or all B of a group, one a layer; undefined for those without an adapter. */
function adapterGradient(e: Emitter, { group, left, right, isB }: Operands): (Name | undefined)[] {
  const shapes = group.layers.map(({ adapter }) => adapter && (isB ? adapter.b : adapter.a).shape);
  const attributes = {
    ...groupAttributes(group),
    ...intAttributes({
      tokens: right.rows,
      isB,
      leftOffset: left.offset,
      leftStride: left.stride,
      offset: right.offset,
      stride: right.stride,
      width: right.width,
    }),
  };
  const outputs = shapes.flatMap((shape) => (shape ? [floatOutput(shape)] : []));
  const names = e.native('AdapterGradient', [left.name, right.name], attributes, outputs);
  let next = 0;
  return shapes.map((shape) => shape && names[next++]);
}
