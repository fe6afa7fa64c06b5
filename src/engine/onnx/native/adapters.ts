/**
 * Low-rank adapters of linear layers, y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ: how the graph says it, and the products that layers of one input share
 * (kernels/adapter_half.c). The narrow product h = x·Aᵀ of all of them is one, and h·(s·B)ᵀ is added while x·Wᵀ is computed.
 */
import { sameShape } from '../../graph/shape-rules.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { type HalfMatrix, roundUp, TILE } from '../half-matrix.js';
import type { Attribute } from '../model-writer.js';
import {
  type AddedProduct,
  halfOutput,
  halfProduct,
  intAttributes,
  optional,
  type PackMode,
  TILE_ELEMENTS,
} from './products.js';

/** Layers that share a product of adapters. */
export const MAX_ADAPTED = 8;
/** Widest adapter that is worth adding to the layer's product. */
const MAX_RANK = 256;

interface Adapter {
  /** [R, I] */
  readonly a: Value;
  /** [O, R] */
  readonly b: Value;
  readonly scale: number;
  /** x·Aᵀ */
  readonly hidden: Value;
}

/** A linear layer: result, input, weight [O, I], bias, and its adapter where it has one. */
export interface Layer {
  readonly result: Value;
  readonly x: Value;
  readonly weight: Value;
  readonly bias: Value | undefined;
  readonly adapter: Adapter | undefined;
}

/** Layers of one input computed as one, in the order of their columns. */
export interface LayerGroup {
  readonly layers: readonly Layer[];
  readonly mode: PackMode;
}

/** The layer that makes a value: a product by an input of the graph, and an adapter that is added to it. */
export function layerOf(e: Emitter, value: Value): Layer | undefined {
  const node = e.view.producerOf(value);
  const plain = plainLayer(e, node);
  if (plain !== undefined) return { result: value, ...plain, adapter: undefined };
  if (node?.kind !== 'add' || !node.inputs.every(({ shape }) => sameShape(shape, value.shape))) return undefined;
  for (const [base, other] of [node.inputs, node.inputs.toReversed()]) {
    const layer = plainLayer(e, e.view.producerOf(base));
    const adapter = adapterOf(e, other);
    const isOwn = layer !== undefined && adapter !== undefined && layer.x === inputOf(e, adapter);
    if (isOwn && base !== other && e.view.isReadOnce(base) && e.view.isReadOnce(other)) {
      return { result: value, ...layer, adapter };
    }
  }
  return undefined;
}

function plainLayer(e: Emitter, node: Node | undefined): Pick<Layer, 'x' | 'weight' | 'bias'> | undefined {
  if (node?.kind !== 'linear' || !e.view.isInput(node.inputs[1])) return undefined;
  const [x, weight, bias] = node.inputs;
  return { x, weight, bias };
}

/** The adapter that makes a value, if it is (x·Aᵀ)·Bᵀ, or that times a known number. */
export function adapterOf(e: Emitter, value: Value): Adapter | undefined {
  const node = e.view.producerOf(value);
  if (node?.kind === 'multiply') {
    for (const [factor, other] of [node.inputs, node.inputs.toReversed()]) {
      const scale = factor.shape.length === 0 ? e.view.constantOf(factor) : undefined;
      const adapter = scale !== undefined && e.view.isReadOnce(other) ? adapterOf(e, other) : undefined;
      if (adapter !== undefined) return { ...adapter, scale: adapter.scale * scale! };
    }
  }
  const outer = plainLayer(e, node);
  const inner = outer && plainLayer(e, e.view.producerOf(outer.x));
  if (outer === undefined || inner === undefined || outer.bias !== undefined || inner.bias !== undefined)
    return undefined;
  if (inner.weight.shape[0] > MAX_RANK) return undefined;
  const isHidden = e.view.consumersOf(outer.x).every((reader) => reader === node || readsAsFactor(reader, outer.x));
  return isHidden ? { a: inner.weight, b: outer.weight, scale: 1, hidden: outer.x } : undefined;
}

const readsAsFactor = ({ kind, inputs }: Node, value: Value): boolean =>
  kind === 'linearWeightGradient' && inputs[1] === value && inputs[0] !== value;

const inputOf = (e: Emitter, { hidden }: Adapter): Value => e.view.producerOf(hidden)!.inputs[0];

const hasAdapter = ({ layers }: LayerGroup): boolean => layers.some(({ adapter }) => adapter !== undefined);

const rankOf = ({ adapter }: Layer): number => adapter?.a.shape[0] ?? 0;

/** Column of the group's narrow matrices at which a layer's ranks begin. */
export const rankOffset = ({ layers }: LayerGroup, index: number): number =>
  layers.slice(0, index).reduce((sum, layer) => sum + rankOf(layer), 0);

/** Of the kernels of adapters. */
export const groupAttributes = ({ layers, mode }: LayerGroup): Record<string, Attribute> => ({
  ...intAttributes({
    mode,
    ...Object.fromEntries(layers.map(({ weight }, index) => [`rows${index}`, weight.shape[0]])),
    ...Object.fromEntries(layers.map((layer, index) => [`rank${index}`, rankOf(layer)])),
  }),
  ...Object.fromEntries(layers.map(({ adapter }, index) => [`scale${index}`, { float: adapter?.scale ?? 0 }])),
});

interface PackedAdapters {
  readonly aForward: Name;
  readonly aBackward: Name;
  readonly bForward: Name;
  readonly bBackward: Name;
  /** Columns of the narrow matrices, padded. */
  readonly ranks: number;
}

function packedAdapters(e: Emitter, group: LayerGroup): PackedAdapters {
  const { layers } = group;
  const adapters = layers.flatMap(({ adapter }) => adapter ?? []);
  const ranks = roundUp(rankOffset(group, layers.length), TILE);
  const width = roundUp(adapters[0].a.shape[1], TILE);
  const rows = layers.reduce((sum, { weight }) => sum + roundUp(weight.shape[0], TILE), 0);
  const operands = [
    [ranks / 16, width / TILE],
    [width / 16, ranks / TILE],
    [rows / 16, ranks / TILE],
    [ranks / 16, rows / TILE],
  ].map((tiles) => optional(halfOutput([...tiles, TILE_ELEMENTS])));
  const inputs = [...adapters.map(({ a }) => a), ...adapters.map(({ b }) => b)].map((value) => e.nameOf(value));
  const names = e.native('PackAdapters', inputs, groupAttributes(group), operands);
  const [aForward, aBackward, bForward, bBackward] = names;
  return { aForward, aBackward, bForward, bBackward, ranks };
}

const narrow = (e: Emitter, x: HalfMatrix, weight: Name, ranks: number): HalfMatrix =>
  halfProduct(e, { x, weight, n: ranks, columns: ranks });

/** A layer of a group that is computed as one. */
interface Place {
  readonly group: LayerGroup;
  readonly index: number;
}
/** By hidden value and by B. Layers that are computed twice (checkpointing) have two hidden values. */
const placesOf = (e: Emitter) => e.once('places of adapters', () => new Map<Value, Place>());

/** The group whose adapters a value is h or B of, once the group has been computed. */
export const placeOf = (e: Emitter, value: Value): Place | undefined => placesOf(e).get(value);

/** h = x·Aᵀ of a group, [N, ranks]. */
export function hiddenOf(e: Emitter, group: LayerGroup): HalfMatrix {
  const { aForward, ranks } = packedAdapters(e, group);
  return narrow(e, e.halfOf(group.layers[0].x), aForward, ranks);
}

/** What the adapters of a group add to the product of its weights; undefined where it has none. */
export function addedByAdapters(e: Emitter, group: LayerGroup): AddedProduct | undefined {
  if (!hasAdapter(group)) return undefined;
  group.layers.forEach(({ adapter }, index) => {
    if (adapter === undefined) return;
    placesOf(e).set(adapter.hidden, { group, index });
    placesOf(e).set(adapter.b, { group, index });
  });
  return { x: hiddenOf(e, group), weight: packedAdapters(e, group).bForward };
}

/** dh = dy·(s·B) of a group, where dy stands as its results do, and with dh·A what is to be added to dy·W. */
export function gradientByAdapters(e: Emitter, group: LayerGroup, dy: HalfMatrix): AddedProduct {
  const { bBackward, aBackward, ranks } = packedAdapters(e, group);
  return { x: narrow(e, dy, bBackward, ranks), weight: aBackward };
}

/** The value that another is `scale` times. */
export function unscaledBy(e: Emitter, value: Value, scale: number): Value | undefined {
  const node = e.view.producerOf(value);
  if (node?.kind === 'multiply') {
    for (const [factor, other] of [node.inputs, node.inputs.toReversed()]) {
      if (factor.shape.length === 0 && e.view.constantOf(factor) === scale) return other;
    }
  }
  return scale === 1 ? value : undefined;
}

/** The gradient dh by the hidden values of an adapter that has been computed: its place, and the layer's dy. */
export function hiddenGradient(e: Emitter, dh: Value): (Place & { readonly dy: Value }) | undefined {
  const node = e.view.producerOf(dh);
  const place = node?.kind === 'linearInputGradient' ? placeOf(e, node.inputs[1]) : undefined;
  const adapter = place?.group.layers[place.index].adapter;
  if (place === undefined || adapter === undefined) return undefined;
  const dy = unscaledBy(e, node!.inputs[0], adapter.scale);
  return dy && { ...place, dy };
}

/** dy·W + dh·A, the gradient of one adapted layer by its input. */
export function adaptedInputGradient(
  e: Emitter,
  value: Value,
): { readonly dy: Value; readonly weight: Value; readonly group: LayerGroup } | undefined {
  const node = e.view.producerOf(value);
  if (node?.kind !== 'add') return undefined;
  for (const [base, other] of [node.inputs, node.inputs.toReversed()]) {
    const [layer, adapter] = [base, other].map((part) => e.view.producerOf(part));
    if (layer?.kind !== 'linearInputGradient' || adapter?.kind !== 'linearInputGradient') continue;
    const gradient = hiddenGradient(e, adapter.inputs[0]);
    const [dy, weight] = layer.inputs;
    const isWhole = gradient?.group.layers.length === 1 && gradient.group.layers[0].adapter?.a === adapter.inputs[1];
    if (isWhole && gradient.dy === dy && e.view.isReadOnce(base) && e.view.isReadOnce(other)) {
      return { dy, weight, group: gradient.group };
    }
  }
  return undefined;
}
