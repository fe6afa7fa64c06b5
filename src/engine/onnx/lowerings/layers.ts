/** The layers of a transformer, their gradients and their tangents as standard nodes. */
import type { Node, Shape } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { withTangent } from '../moved-linear.js';
import { add, mul, neg, product, reshape, softmax, sub, sum, transpose } from './primitives.js';

const names = (e: Emitter, node: Node): Name[] => node.inputs.map((value) => e.nameOf(value));

/** Smallest probability whose logarithm is taken: below it float32 has no normal numbers. */
const SMALLEST_PROBABILITY = 1e-37;

/**
 * Row counts at which w·xᵀ is the faster product (by 1.1–1.6, measured): the runtime packs its right operand on every run, so
 * the few rows had better be that than the weight.
 */
const FEW_ROWS = { least: 8, most: 64 };

export function lowerLinear(e: Emitter, node: Node<'linear'>): Name[] {
  return [
    withTangent(e, node, ({ x, numRows, weight, bias }) => {
      if (numRows >= FEW_ROWS.least && numRows <= FEW_ROWS.most) {
        const y = transpose(e, product(e, weight, x, { transposeB: true }), [1, 0]);
        return bias === undefined ? y : add(e, y, bias);
      }
      if (bias === undefined) return product(e, x, weight, { transposeB: true });
      return e.node('Gemm', [x, weight, bias], { transB: { int: 1 } })[0];
    }),
  ];
}

/** The runtime's fused norm also gives 1/rms. */
export function lowerRmsNorm(e: Emitter, node: Node<'rmsNorm'>): Name[] {
  const attributes = { axis: { int: -1 }, epsilon: { float: node.params.epsilon } };
  return e.node('SimplifiedLayerNormalization', names(e, node), attributes, 2);
}

/** x̂ = x·r; dx = r·(dy·g − x̂·mean(dy·g·x̂)), dg = Σ over rows of dy·x̂. */
export function lowerRmsNormBackward(e: Emitter, node: Node<'rmsNormBackward'>): Name[] {
  const [x, gain, r, dy] = names(e, node);
  const [rows, width] = node.inputs[0].shape;
  const normal = mul(e, x, r);
  const z = mul(e, dy, normal);
  const ones = e.cached(`ones ${rows}`, [1, rows], () => new Float32Array(rows).fill(1));
  const dGain = reshape(e, product(e, ones, z), [width]);
  const mean = product(e, z, reshape(e, gain, [width, 1]), { alpha: 1 / width });
  return [mul(e, sub(e, mul(e, dy, gain), mul(e, normal, mean)), r), dGain];
}

/** ty = g·(tx·r − x̂·mean(tx·r·x̂)) + tg·x̂. */
export function lowerRmsNormTangent(e: Emitter, node: Node<'rmsNormTangent'>): Name[] {
  const [x, gain, r, tx, tGain] = names(e, node);
  const width = node.inputs[0].shape[1];
  const normal = mul(e, x, r);
  const moved = mul(e, tx, r);
  const mean = mul(e, sum(e, mul(e, moved, normal), [1]), e.scalar(1 / width));
  return [add(e, mul(e, sub(e, moved, mul(e, normal, mean)), gain), mul(e, normal, tGain))];
}

/** x·σ(x): QuickGelu with alpha 1. */
const silu = (e: Emitter, x: Name): Name => e.contrib('QuickGelu', [x], { alpha: { float: 1 } })[0];

export function lowerSwiglu(e: Emitter, node: Node<'swiglu'>): Name[] {
  const [gate, up] = names(e, node);
  return [mul(e, silu(e, gate), up)];
}

/** With s = silu(gate): dup = dy·s, dgate = up·((dy − dup)·σ + dup). */
export function lowerSwigluBackward(e: Emitter, node: Node<'swigluBackward'>): Name[] {
  const [gate, up, dy] = names(e, node);
  const dUp = mul(e, dy, silu(e, gate));
  const inner = add(e, mul(e, sub(e, dy, dUp), e.node('Sigmoid', [gate])[0]), dUp);
  return [mul(e, inner, up), dUp];
}

/** ts = tgate·(σ + s·(1 − σ)); ty = ts·up + s·tup. */
export function lowerSwigluTangent(e: Emitter, node: Node<'swigluTangent'>): Name[] {
  const [gate, up, tGate, tUp] = names(e, node);
  const s = silu(e, gate);
  const sigmoid = e.node('Sigmoid', [gate])[0];
  const slope = add(e, sigmoid, mul(e, s, sub(e, e.scalar(1), sigmoid)));
  return [add(e, mul(e, mul(e, tGate, slope), up), mul(e, s, tUp))];
}

/** The inverse rotation is the same with the sine negated. */
export function lowerRotary(e: Emitter, node: Node<'rotary'>): Name[] {
  const [x, positions, cos, sin] = names(e, node);
  const { shape } = node.inputs[0];
  const flat = reshape(e, x, [shape[0], shape[1], shape[2] * shape[3]]);
  const angle = node.params.inverse ? neg(e, sin) : sin;
  return [reshape(e, e.contrib('RotaryEmbedding', [flat, positions, cos, angle])[0], shape)];
}

/** softmax(x·wᵀ) [N, V]: the forward pass makes it, the backward pass shares it. */
function headProbabilities(e: Emitter, node: Node<'headLoss' | 'headLossBackward'>): Name {
  const [x, weight] = names(e, node);
  return softmax(e, product(e, x, weight, { transposeB: true }));
}

export function lowerHeadLoss(e: Emitter, node: Node<'headLoss'>): Name[] {
  const [, , targets, weights] = names(e, node);
  const numTokens = node.inputs[0].shape[0];
  const column = reshape(e, targets, [numTokens, 1]);
  const chosen = e.node('GatherElements', [headProbabilities(e, node), column], { axis: { int: 1 } })[0];
  const bounded = e.node('Max', [reshape(e, chosen, [numTokens]), e.scalar(SMALLEST_PROBABILITY)])[0];
  const nll = neg(e, e.node('Log', [bounded])[0]);
  return [sum(e, mul(e, nll, weights), [0], false), nll];
}

/** aᵀ·b [rows, columns]. A tall result is a fifth slower to compute than its transpose is, the transposing included. */
function tallProduct(e: Emitter, a: Name, b: Name, [rows, columns]: Shape): Name {
  if (rows <= 4 * columns) return product(e, a, b, { transposeA: true });
  return transpose(e, product(e, b, a, { transposeA: true }), [1, 0]);
}

/**
 * With d = p less 1 at each target: dx = weights·(d·w), dw = dᵀ·(weights·x). One element a row changes in p, where adding rows
 * of x into dw would walk through them one by one.
 */
export function lowerHeadLossBackward(e: Emitter, node: Node<'headLossBackward'>): Name[] {
  const [x, weight, targets, weights] = names(e, node);
  const numTokens = node.inputs[0].shape[0];
  const column = reshape(e, weights, [numTokens, 1]);
  const ids = reshape(e, targets, [numTokens, 1]);
  const p = headProbabilities(e, node);
  const axis = { axis: { int: 1 } };
  const chosen = e.node('GatherElements', [p, ids], axis)[0];
  const d = e.node('ScatterElements', [p, ids, sub(e, chosen, e.scalar(1))], axis)[0];
  const dx = mul(e, product(e, d, weight), column);
  return [dx, tallProduct(e, d, mul(e, x, column), node.inputs[1].shape)];
}
