/**
 * Sums in bfloat16 training: residual connections, adapters, and the gradients that meet at a value. A product among the terms
 * adds the others on the way; products of columns of one matrix become one; a norm's gradient adds all that stands beside it.
 */
import { sameShape } from '../../graph/shape-rules.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { type HalfMatrix, roundUp, TILE } from '../half-matrix.js';
import { hiddenGradients } from './adapter-gradients.js';
import { adapterOf, addedByAdapters, type Layer, layerOf } from './adapters.js';
import { gatedPair, pairGradient, splitGatedPair } from './gated.js';
import { endOf, lowerLayers } from './linear.js';
import { emitNormGradient } from './norm.js';
import {
  type AddedProduct,
  floatProduct,
  halfProduct,
  INTERLEAVED,
  isHalfPrecision,
  isUnmade,
  packedWeight,
  STACKED,
  unscaled,
  wantsHalf,
} from './products.js';

interface Term {
  readonly value: Value;
  /** The layer, or gradient of a layer by its input, that makes the value times `alpha`; undefined: any other value. */
  readonly product: Node | undefined;
  readonly alpha: number;
}

export function lowerAdd(e: Emitter, node: Node<'add'>): boolean {
  if (!isHalfPrecision(e)) return false;
  const [sum] = node.outputs;
  const layer = layerOf(e, sum);
  if (layer?.adapter !== undefined) {
    if (splitGatedPair(e, sum)) return true;
    if (wantsHalf(e, sum)) return lowerLayers(e, layer);
  }
  const terms = termsOf(e, sum, true).map((value) => describe(e, value));
  const norm = terms.find(({ value }) => isOwnNormGradient(e, value));
  const products = terms.filter(({ product }) => product !== undefined);
  if (norm === undefined && products.length === 0) return false;
  const others = terms.filter((term) => term !== norm && term.product === undefined);
  let total: Name | undefined = others
    .map(({ value }) => e.nameOf(value))
    .reduce<Name | undefined>((a, b) => (a === undefined ? b : e.node('Add', [a, b])[0]), undefined);
  const joint = joinProducts(e, products);
  const lastHalf = norm === undefined && wantsHalf(e, sum);
  joint.forEach((product, index) => {
    const operands = { ...product, columns: sum.shape[1], residual: total };
    if (lastHalf && index === joint.length - 1) e.bindHalf(sum, halfProduct(e, operands));
    else total = floatProduct(e, operands);
  });
  if (norm !== undefined) emitNormGradient(e, e.view.producerOf(norm.value)!, sum, total);
  else if (!lastHalf) e.bind(sum, total!);
  return true;
}

/** The values that a sum adds up: sums that nothing else reads are taken apart. */
function termsOf(e: Emitter, value: Value, isRoot: boolean): Value[] {
  const node = e.view.producerOf(value);
  const isSum = node?.kind === 'add' && node.inputs.every(({ shape }) => sameShape(shape, value.shape));
  if (!isSum || (!isRoot && (!e.view.isReadOnce(value) || !isUnmade(e, value)))) return [value];
  return node.inputs.flatMap((input) => termsOf(e, input, false));
}

function describe(e: Emitter, value: Value): Term {
  const own = ownProduct(e, value);
  if (own !== undefined) return { value, product: own, alpha: 1 };
  const node = e.view.producerOf(value);
  if (node?.kind === 'multiply' && e.view.isReadOnce(value) && isUnmade(e, value)) {
    for (const [factor, other] of [node.inputs, node.inputs.toReversed()]) {
      const alpha = factor.shape.length === 0 ? e.view.constantOf(factor) : undefined;
      const product = ownProduct(e, other);
      if (alpha !== undefined && product !== undefined) return { value, product, alpha };
    }
  }
  return { value, product: undefined, alpha: 1 };
}

/** The product that makes a value for one reader alone. */
function ownProduct(e: Emitter, value: Value): Node | undefined {
  const node = e.view.producerOf(value);
  const isProduct = node?.kind === 'linearInputGradient' || (node?.kind === 'linear' && node.inputs.length === 2);
  if (!isProduct || !e.view.isReadOnce(value) || !isUnmade(e, value)) return undefined;
  return gatedPair(e, value) === undefined ? node : undefined;
}

function isOwnNormGradient(e: Emitter, value: Value): boolean {
  const node = e.view.producerOf(value);
  return (
    node?.kind === 'rmsNormBackward' &&
    node.outputs[0] === value &&
    e.view.isReadOnce(value) &&
    isUnmade(e, value) &&
    isUnmade(e, node.outputs[1])
  );
}

interface Operands {
  readonly x: HalfMatrix;
  readonly weight: Name;
  readonly n: number;
  readonly alpha: number;
  readonly added?: AddedProduct;
}

function joinProducts(e: Emitter, terms: readonly Term[]): Operands[] {
  const left = new Set(terms);
  const added = productsOfAdapters(e, left);
  const joint = joinPlainProducts(e, [...left]);
  // Each is taken in by one of the others.
  for (const product of added) {
    const at = joint.findIndex((operands) => operands.alpha === 1 && operands.added === undefined);
    if (at >= 0) joint[at] = { ...joint[at], added: product };
    else joint.push({ ...product, n: roundUp(terms[0].value.shape[1], TILE), alpha: 1 });
  }
  return joint;
}

function joinPlainProducts(e: Emitter, terms: readonly Term[]): Operands[] {
  const left = new Set(terms);
  const joint: Operands[] = [];
  for (const term of terms) {
    if (!left.has(term)) continue;
    const { product, alpha } = term;
    const [input, weight] = product!.inputs;
    if (product!.kind === 'linear') {
      left.delete(term);
      const { forward, rows } = packedWeight(e, [weight]);
      joint.push({ x: e.halfOf(input), weight: forward, n: rows, alpha });
      continue;
    }
    const group = gradientsBeside(e, term, [...left]);
    for (const member of group.terms) left.delete(member);
    const { backward, width } = packedWeight(e, group.weights, group.mode);
    joint.push({ x: group.x, weight: backward, n: width, alpha: alpha * group.scale });
  }
  return joint;
}

/** The products of adapters among the terms, which are removed: forward h·Bᵀ, and backward those of a whole group, dh·A. */
function productsOfAdapters(e: Emitter, terms: Set<Term>): AddedProduct[] {
  const products: AddedProduct[] = [];
  for (const term of terms) {
    const { value, product } = term;
    if (!terms.has(term)) continue;
    if (product!.kind === 'linear') {
      const layer = adaptedLayer(e, value, terms);
      const added = layer && addedByAdapters(e, { layers: [layer], mode: STACKED });
      if (added === undefined) continue;
      terms.delete(term);
      products.push(added);
    } else {
      const gradients = hiddenGradients(e, product!.inputs[0]);
      const members = gradients?.group.layers.map(({ adapter }, index) =>
        [...terms].find(({ product: other }) => {
          return other!.inputs[0] === gradients.dhs[index] && other!.inputs[1] === adapter?.a;
        }),
      );
      const isWhole = members?.every(
        (member, index) => (member === undefined) === (gradients!.dhs[index] === undefined),
      );
      if (!isWhole) continue;
      for (const member of members!) if (member !== undefined) terms.delete(member);
      products.push(gradients!.product);
    }
  }
  return products;
}

/** The layer among the terms that a term is the adapter of. */
function adaptedLayer(e: Emitter, value: Value, terms: ReadonlySet<Term>): Layer | undefined {
  const adapter = adapterOf(e, value);
  if (adapter === undefined) return undefined;
  const [x] = e.view.producerOf(adapter.hidden)!.inputs;
  const base = [...terms].find(
    ({ product, value: other }) => product!.kind === 'linear' && product!.inputs[0] === x && other !== value,
  );
  return base && { result: value, x, weight: base.product!.inputs[1], bias: undefined, adapter };
}

/** Gradients Σ dy_i·W_i whose dy_i are the columns of one matrix: one product with the weights packed as one. */
function gradientsBeside(e: Emitter, term: Term, terms: readonly Term[]) {
  const dyOf = ({ product }: Term): Value => product!.inputs[0];
  const weightOf = ({ product }: Term): Value => product!.inputs[1];
  const fitting = terms.filter(({ product, alpha }) => product!.kind === 'linearInputGradient' && alpha === term.alpha);
  const pair = pairGradient(e, dyOf(term));
  if (pair !== undefined) {
    const both = pair.values.map((value) => fitting.find((other) => dyOf(other) === value));
    if (both.every((other) => other !== undefined)) {
      return { terms: both, weights: both.map(weightOf), mode: INTERLEAVED, x: pair.matrix, scale: 1 } as const;
    }
  }
  const { value: source, alpha: scale } = unscaled(e, dyOf(term));
  if (scale !== 1) {
    return { terms: [term], weights: [weightOf(term)], mode: STACKED, x: e.halfOf(source), scale } as const;
  }
  const x = e.halfOf(source);
  const members = fitting
    .filter((other) => pairGradient(e, dyOf(other)) === undefined && unscaled(e, dyOf(other)).alpha === 1)
    .map((other) => ({ other, part: e.halfOf(dyOf(other)) }))
    .filter(({ part }) => part.name === x.name)
    .sort((a, b) => a.part.offset - b.part.offset);
  const isWhole =
    members.length > 1 &&
    members.every(({ part }, index) => part.offset === (index === 0 ? 0 : endOf(members[index - 1].part))) &&
    endOf(members[members.length - 1].part) === x.stride;
  if (!isWhole) return { terms: [term], weights: [weightOf(term)], mode: STACKED, x, scale } as const;
  return {
    terms: members.map(({ other }) => other),
    weights: members.map(({ other }) => weightOf(other)),
    mode: STACKED,
    x: { ...x, offset: 0, width: x.stride },
    scale,
  } as const;
}
