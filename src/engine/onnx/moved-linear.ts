/** Linear layers and their tangents, as forward mode writes them: found again, so that a weight is read once for both. */
import type { Node, Value } from '../graph/types.js';
import type { Emitter, Name } from './emitter.js';
import { add } from './lowerings/primitives.js';

/** Whether a node is a linear layer whose weight is an input of the graph. */
export const isOnInput = (e: Emitter, node: Node | undefined): node is Node<'linear'> =>
  node?.kind === 'linear' && e.view.isInput(node.inputs[1]);

/** How a layer y = x·wᵀ + b moves: ty = tx·wᵀ + tb + x·twᵀ, as the rule of forward mode writes it. */
export interface Move {
  /** The layer of `tx`. */
  readonly layer: Node<'linear'>;
  readonly ty: Value;
  readonly tx: Value;
  readonly tBias: Value | undefined;
  readonly tWeight: Value;
}

/** The sum that a value is a term of, and its other term, if nothing else reads the value. */
export function soleSum(e: Emitter, value: Value): { sum: Value; other: Value } | undefined {
  const [reader] = e.view.consumersOf(value);
  if (reader?.kind !== 'add' || !e.view.isReadOnce(value)) return undefined;
  const [sum] = reader.outputs;
  const other = reader.inputs[0] === value ? reader.inputs[1] : reader.inputs[0];
  const isPlain = other.shape.join() === value.shape.join();
  return isPlain && other !== value ? { sum, other } : undefined;
}

/** How a layer moves, if the graph has its tangent. */
export function moveOf(e: Emitter, layer: Node): Move | undefined {
  const [x, weight] = layer.inputs;
  for (const other of e.view.consumersOf(weight)) {
    if (other === layer || other.kind !== 'linear' || other.inputs[1] !== weight) continue;
    const found = soleSum(e, other.outputs[0]);
    const second = found && e.view.producerOf(found.other);
    if (!isOnInput(e, second) || second.inputs[0] !== x || second.inputs.length > 2) continue;
    if (!e.view.isReadOnce(second.outputs[0])) continue;
    if (dependsOn(e, other.inputs[0], layer.outputs[0])) continue;
    return {
      layer: other as Node<'linear'>,
      ty: found!.sum,
      tx: other.inputs[0],
      tBias: other.inputs[2],
      tWeight: second.inputs[1],
    };
  }
  return undefined;
}

/** A layer of a norm's result, of which only the tangent ty = tx·wᵀ + x·twᵀ is asked for. */
export interface LoneMove {
  readonly layer: { readonly inputs: readonly [x: Value, weight: Value] };
  readonly move: Move;
}

/** That of which a value is the tangent. The norm tells which of the two terms has the tangent of x. */
export function loneMoveOf(e: Emitter, ty: Value): LoneMove | undefined {
  const sum = e.view.producerOf(ty);
  if (sum?.kind !== 'add') return undefined;
  const terms = sum.inputs.map((value) => (e.view.isReadOnce(value) ? e.view.producerOf(value) : undefined));
  for (const [first, second] of [terms, [terms[1], terms[0]]]) {
    if (!isOnInput(e, first) || !isOnInput(e, second) || first.inputs.length > 2 || second.inputs.length > 2) continue;
    const [[tx, weight], [x, tWeight]] = [first.inputs, second.inputs];
    const [moved, norm] = [e.view.producerOf(tx), e.view.producerOf(x)];
    if (norm?.kind !== 'rmsNorm' || moved?.kind !== 'rmsNormTangent') continue;
    if (moved.inputs[0] !== norm.inputs[0] || moved.inputs[1] !== norm.inputs[1]) continue;
    return { layer: { inputs: [x, weight] }, move: { layer: first, ty, tx, tBias: undefined, tWeight } };
  }
  return undefined;
}

/** Whether a value is computed from another: a tangent never is from what it is computed with. */
function dependsOn(e: Emitter, value: Value, on: Value): boolean {
  const seen = new Set<Value>();
  const open = [value];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next === on) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    open.push(...(e.view.producerOf(next)?.inputs ?? []));
  }
  return false;
}

/** Rows of a layer and its tangent together, up to which they become one product. */
const MOST_ROWS = 64;

/** What a product x·wᵀ (+ bias) is made of. */
interface Product {
  readonly x: Name;
  readonly numRows: number;
  readonly weight: Name;
  readonly bias: Name | undefined;
}

/**
 * A layer by `emit`. Where it or its tangent, on the same weight, is asked for and rows are few, both are one product: it reads the weight
 * once, and at few rows reading is the work.
 */
export function withTangent(e: Emitter, node: Node<'linear'>, emit: (product: Product) => Name): Name {
  const [x, weight] = node.inputs;
  const numRows = x.shape[0];
  const biasOf = ({ inputs: [, , bias] }: Node) => bias && e.nameOf(bias);
  const pair = 2 * numRows > MOST_ROWS ? undefined : pairOf(e, node);
  if (pair === undefined) return emit({ x: e.nameOf(x), numRows, weight: e.nameOf(weight), bias: biasOf(node) });
  const inputs = pair.map(({ inputs: [rows] }) => e.nameOf(rows));
  const [both] = e.node('Concat', inputs, { axis: { int: 0 } });
  const product = emit({ x: both, numRows: 2 * numRows, weight: e.nameOf(weight), bias: undefined });
  const halves = e.node('Split', [product], { axis: { int: 0 }, num_outputs: { int: 2 } }, 2);
  const index = pair.indexOf(node);
  const bias = biasOf(node);
  return bias === undefined ? halves[index] : add(e, halves[index], bias);
}

/** A layer and that of its input's tangent, of which the node is one. */
function pairOf(e: Emitter, node: Node<'linear'>): readonly Node[] | undefined {
  for (const layer of e.view.consumersOf(node.inputs[1])) {
    const moved = isOnInput(e, layer) ? moveOf(e, layer)?.layer : undefined;
    if (moved !== undefined && (layer === node || moved === node)) return [layer, moved];
  }
  return undefined;
}
