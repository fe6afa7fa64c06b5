/** Attention as standard nodes: heads first, the heads of a group stacked so that keys and values are never repeated. */
import type { Node, Shape } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { add, mul, product, reshape, softmax, sub, sum, transpose } from './primitives.js';

/** [B, T, heads, D] ↔ [B, heads, T, D] */
export const HEADS_FIRST = [0, 2, 1, 3];
/** Added to a score that must not count: far below any score, yet finite, so that a row of them stays a number. */
export const MASKED = -1e9;

/** [B, T, heads, D] → [B·groups, heads/groups·T, D] */
function stackHeads(e: Emitter, x: Name, [batch, time, heads, size]: Shape, groups: number): Name {
  return reshape(e, transpose(e, x, HEADS_FIRST), [batch * groups, (heads / groups) * time, size]);
}

/** The way back of `stackHeads`. */
export function unstackHeads(e: Emitter, x: Name, [batch, time, heads, size]: Shape): Name {
  return transpose(e, reshape(e, x, [batch, heads, time, size]), HEADS_FIRST);
}

/** [rep·T, T]: 0 where a query may read a key, MASKED above the diagonal. */
function causalMask(e: Emitter, time: number, rep: number): Name {
  return e.cached(`causal mask ${time} x ${rep}`, [rep * time, time], () => {
    const mask = new Float32Array(rep * time * time);
    for (let row = 0; row < rep * time; row++) mask.fill(MASKED, row * time + (row % time) + 1, (row + 1) * time);
    return mask;
  });
}

/** Everything the forward pass computes; the other passes ask for it again and share its nodes. */
function forward(e: Emitter, node: Node<'attention' | 'attentionBackward' | 'attentionTangent'>) {
  const [q, k, v] = node.inputs;
  const [, time, heads] = q.shape;
  const groups = k.shape[2];
  const stack = (x: Name, shape: Shape) => stackHeads(e, x, shape, groups);
  const qs = stack(e.nameOf(q), q.shape);
  const ks = stack(e.nameOf(k), k.shape);
  const vs = stack(e.nameOf(v), v.shape);
  const scores = product(e, qs, ks, { transposeB: true, alpha: node.params.scale });
  const p = softmax(e, add(e, scores, causalMask(e, time, heads / groups)));
  return { stack, qs, ks, vs, p, os: product(e, p, vs) };
}

export function lowerAttention(e: Emitter, node: Node<'attention'>): Name[] {
  return [unstackHeads(e, forward(e, node).os, node.inputs[0].shape)];
}

/** dS = p ∘ (dO·vᵀ − rowsum(dO ∘ o)); dq = scale·dS·k, dk = scale·dSᵀ·q, dv = pᵀ·dO. */
export function lowerAttentionBackward(e: Emitter, node: Node<'attentionBackward'>): Name[] {
  const [q, k, v, , dO] = node.inputs;
  const alpha = node.params.scale;
  const { stack, qs, ks, vs, p, os } = forward(e, node);
  const dOs = stack(e.nameOf(dO), dO.shape);
  const dP = product(e, dOs, vs, { transposeB: true });
  const dS = mul(e, sub(e, dP, sum(e, mul(e, dOs, os), [2])), p);
  return [
    unstackHeads(e, product(e, dS, ks, { alpha }), q.shape),
    unstackHeads(e, product(e, dS, qs, { transposeA: true, alpha }), k.shape),
    unstackHeads(e, product(e, p, dOs, { transposeA: true }), v.shape),
  ];
}

/** tS = scale·(tq·kᵀ + q·tkᵀ); z = p ∘ tS; to = z·v − rowsum(z) ∘ o + p·tv. */
export function lowerAttentionTangent(e: Emitter, node: Node<'attentionTangent'>): Name[] {
  const [q, , , , tq, tk, tv] = node.inputs;
  const options = { transposeB: true, alpha: node.params.scale };
  const { stack, qs, ks, vs, p, os } = forward(e, node);
  const [tqs, tks, tvs] = [tq, tk, tv].map((tangent) => stack(e.nameOf(tangent), tangent.shape));
  const z = mul(e, p, add(e, product(e, tqs, ks, options), product(e, qs, tks, options)));
  const moved = sub(e, product(e, z, vs), mul(e, sum(e, z, [2]), os));
  return [unstackHeads(e, add(e, moved, product(e, p, tvs)), q.shape)];
}
