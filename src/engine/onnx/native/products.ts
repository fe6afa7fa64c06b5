/** What native lowerings of matrix products share: packed weights, product nodes, and who reads a result in which form. */
import type { OpKind } from '../../graph/catalogue.js';
import type { Node, Shape, Value } from '../../graph/types.js';
import type { Emitter, Name, NativeOutput } from '../emitter.js';
import { type HalfMatrix, roundUp, TILE } from '../half-matrix.js';
import type { Attribute } from '../model-writer.js';

/** Elements of a packed tile. */
export const TILE_ELEMENTS = 512;

/** How several weights are packed as one: one after the other, or the rows of two by turns of 16. */
export const STACKED = 0;
export const INTERLEAVED = 1;
export type PackMode = typeof STACKED | typeof INTERLEAVED;

/** Whether products are to be computed in bfloat16 by the kernels of training. */
export const isHalfPrecision = ({ options }: Emitter): boolean =>
  options.precision === 'bfloat16' && options.kernels.has('LinearHalf');

export const intAttributes = (values: Readonly<Record<string, number>>): Record<string, Attribute> =>
  Object.fromEntries(Object.entries(values).map(([name, int]) => [name, { int }]));

export const floatOutput = (shape: Shape): NativeOutput => ({ type: 'float32', shape });
export const halfOutput = (shape: Shape): NativeOutput => ({ type: 'bfloat16', shape });
/** The same, not made where nothing reads it. */
export const optional = (output: NativeOutput): NativeOutput => ({ ...output, isOptional: true });

interface PackedWeight {
  /** Operand of x·Wᵀ. */
  readonly forward: Name;
  /** Operand of dy·W. */
  readonly backward: Name;
  /** Σ of the weights' rows, each padded. */
  readonly rows: number;
  /** Columns, padded. */
  readonly width: number;
}

/** The packed form of weights [O_i, I] with one input: once a run, or kept from run to run. */
export function packedWeight(e: Emitter, weights: readonly Value[], mode: PackMode = STACKED): PackedWeight {
  const rows = weights.reduce((sum, { shape }) => sum + roundUp(shape[0], TILE), 0);
  const width = roundUp(weights[0].shape[1], TILE);
  if (weights.every(e.isFrozen)) {
    const how = mode === STACKED ? 'stacked' : 'interleaved';
    const [forward, backward] = [`${how} forward`, `${how} backward`] as const;
    return { forward: e.packedOf(weights, forward), backward: e.packedOf(weights, backward), rows, width };
  }
  const outputs = [
    optional(halfOutput([rows / 16, width / TILE, TILE_ELEMENTS])),
    optional(halfOutput([width / 16, rows / TILE, TILE_ELEMENTS])),
  ];
  const inputs = weights.map((weight) => e.nameOf(weight));
  const [forward, backward] = e.native('Pack', inputs, { mode: { int: mode } }, outputs);
  return { forward, backward, rows, width };
}

/** Gradients that one node makes, and its sum of the squares of them all: wanted for their norm. */
interface Measured {
  readonly squares: Name;
  readonly gradients: readonly Name[];
}

/** By the name of each gradient. */
export const measuredGradients = (e: Emitter) => e.once('measured gradients', () => new Map<Name, Measured>());

interface Product {
  readonly x: HalfMatrix;
  /** Packed, with `n` columns of the result, padded; `columns` of them exist. */
  readonly weight: Name;
  readonly n: number;
  readonly columns: number;
  readonly alpha?: number;
  /** float32 [rows, columns] to be added. */
  readonly residual?: Name | undefined;
  readonly bias?: Name | undefined;
  readonly added?: AddedProduct | undefined;
}

/** A second product with as many columns, added before `alpha` multiplies. */
export interface AddedProduct {
  readonly x: HalfMatrix;
  readonly weight: Name;
}

export const productAttributes = ({
  x,
  columns,
  added,
}: Pick<Product, 'x' | 'columns' | 'added'>): Record<string, Attribute> =>
  intAttributes({
    ...{ rows: x.rows, offset: x.offset, stride: x.stride, columns },
    ...(added && { offset2: added.x.offset, stride2: added.x.stride }),
  });

/** Inputs of a node, absent ones at the end left away. */
export function withoutLast(inputs: readonly (Name | undefined)[]): Name[] {
  const given = inputs.map((name) => name ?? '');
  while (given.at(-1) === '') given.pop();
  return given;
}

export const addedInputs = (added: AddedProduct | undefined) => [added?.x.name, added?.weight];

function productNode(e: Emitter, op: 'LinearHalf' | 'LinearFloat', product: Product, output: NativeOutput): Name {
  const { x, weight, residual, bias, added, alpha = 1 } = product;
  const inputs = withoutLast([x.name, weight, residual, bias, ...addedInputs(added)]);
  return e.native(op, inputs, { ...productAttributes(product), alpha: { float: alpha } }, [output])[0];
}

/** alpha · x·Wᵀ (+ residual) (+ bias) as bfloat16. */
export function halfProduct(e: Emitter, product: Product): HalfMatrix {
  const { x, n, columns } = product;
  const name = productNode(e, 'LinearHalf', product, halfOutput([x.rows, n]));
  return { name, rows: x.rows, width: columns, offset: 0, stride: n };
}

/** The same as float32 [rows, columns]. */
export function floatProduct(e: Emitter, product: Product): Name {
  return productNode(e, 'LinearFloat', product, floatOutput([product.x.rows, product.columns]));
}

/** Inputs that kernels of training read as bfloat16. */
const HALF_INPUTS: { readonly [K in OpKind]?: readonly number[] } = {
  linear: [0],
  linearInputGradient: [0],
  linearWeightGradient: [0, 1],
  rmsNormBackward: [3],
  swiglu: [0, 1],
  swigluBackward: [0, 1, 2],
  attention: [0, 1, 2],
  attentionBackward: [0, 1, 2, 3, 4],
  headLoss: [0],
  headLossBackward: [0],
};

/** Whether all that read a value take it as bfloat16. */
export function wantsHalf(e: Emitter, value: Value): boolean {
  if (e.view.isOutput(value)) return false;
  return e.view.consumersOf(value).every((node) => {
    if (node.kind === 'reshape') return wantsHalf(e, node.outputs[0]);
    if (node.kind === 'multiply' && node.inputs[1] === value && e.view.constantOf(node.inputs[0]) !== undefined) {
      return wantsHalf(e, node.outputs[0]);
    }
    if (node.kind === 'multiply' && node.inputs[0] === value && e.view.constantOf(node.inputs[1]) !== undefined) {
      return wantsHalf(e, node.outputs[0]);
    }
    // A rotation is fused into the attention that reads it.
    if (node.kind === 'rotary') return !(node as Node<'rotary'>).params.inverse && wantsHalf(e, node.outputs[0]);
    const positions = HALF_INPUTS[node.kind] ?? [];
    return node.inputs.every((input, index) => input !== value || positions.includes(index));
  });
}

/** Whether nothing of a value exists yet. */
export const isUnmade = (e: Emitter, value: Value): boolean => !e.hasFloat(value) && !e.hasHalf(value);

/** A value that is another times a known number: products scale their result instead. */
export function unscaled(e: Emitter, value: Value): { value: Value; alpha: number } {
  const node = e.view.producerOf(value);
  if (node?.kind === 'multiply' && isUnmade(e, value)) {
    for (const [factor, other] of [node.inputs, node.inputs.toReversed()]) {
      const alpha = factor.shape.length === 0 ? e.view.constantOf(factor) : undefined;
      if (alpha !== undefined && other.shape.length > 0) return { value: other, alpha };
    }
  }
  return { value, alpha: 1 };
}
