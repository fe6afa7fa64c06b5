/** Attention against a key/value cache: the runtime's own fused node, and standard nodes where that does not apply. */
import type { Node, Shape, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { HEADS_FIRST, MASKED, unstackHeads } from './attention.js';
import { add, cast, INT64, mul, product, reshape, softmax, sub, sum, transpose } from './primitives.js';

/** The runtime's own decode attention takes head sizes that are multiples of this. */
const FUSED_HEAD_SIZE_MULTIPLE = 16;

export function lowerCachedAttention(e: Emitter, node: Node<'cachedAttention'>): Name[] {
  const headSize = node.inputs[0].shape[3];
  return headSize % FUSED_HEAD_SIZE_MULTIPLE === 0 ? lowerCachedFused(e, node) : lowerCachedExplicit(e, node);
}

/** GroupQueryAttention writes the new keys and values into the cache and reads each row no further than its length. */
function lowerCachedFused(e: Emitter, node: Node<'cachedAttention'>): Name[] {
  const [q, k, v, cacheK, cacheV, lengths, total] = node.inputs;
  const [batch, time, heads, size] = q.shape;
  const groups = k.shape[2];
  const flat = (x: Name, n: number) => reshape(e, x, [batch, time, n * size]);
  const lastIndex = sub(e, e.nameOf(lengths), e.ints([1], 'int32'));
  const [o, newK, newV] = e.contrib(
    'GroupQueryAttention',
    [
      flat(e.nameOf(q), heads),
      flat(e.nameOf(k), groups),
      flat(e.nameOf(v), groups),
      e.nameOf(cacheK),
      e.nameOf(cacheV),
      lastIndex,
      e.nameOf(total),
    ],
    { num_heads: { int: heads }, kv_num_heads: { int: groups }, scale: { float: node.params.scale } },
    3,
  );
  return [reshape(e, o, q.shape), newK, newV];
}

/** Where the new tokens of a step stand. */
interface Layout {
  readonly q: Value;
  readonly lengths: Value;
  readonly cacheShape: Shape;
  readonly firstChunk: boolean;
  readonly scale: number;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, index) => index);

/** Positions [B, T] int64 of the new tokens. */
function newPositions(e: Emitter, { q, lengths, firstChunk }: Layout): Name {
  const [batch, time] = q.shape;
  const offsets = reshape(e, e.ints(range(time)), [1, time]);
  if (firstChunk) return e.node('Expand', [offsets, e.ints([batch, time])])[0];
  const ends = reshape(e, cast(e, e.nameOf(lengths), INT64), [batch, 1]);
  return add(e, sub(e, ends, e.ints([time])), offsets);
}

/** cache [B, K, S, D] with new rows [B, T, K, D] written at their positions. */
function writeCache(e: Emitter, layout: Layout, cache: Name, fresh: Name): Name {
  const [batch, time] = layout.q.shape;
  const groups = layout.cacheShape[1];
  const grid = e.ints([batch, groups, time, 1]);
  const everywhere = (x: Name, shape: Shape) => e.node('Expand', [reshape(e, x, shape), grid])[0];
  const indices = e.node(
    'Concat',
    [
      everywhere(e.ints(range(batch)), [batch, 1, 1, 1]),
      everywhere(e.ints(range(groups)), [1, groups, 1, 1]),
      everywhere(newPositions(e, layout), [batch, 1, time, 1]),
    ],
    { axis: { int: -1 } },
  )[0];
  return e.node('ScatterND', [cache, indices, transpose(e, fresh, HEADS_FIRST)])[0];
}

/** [B, T, H, D] → [B, K, H/K·T, D] */
function groupQueries(e: Emitter, layout: Layout, x: Name): Name {
  const [batch, time, heads, size] = layout.q.shape;
  const groups = layout.cacheShape[1];
  return reshape(e, transpose(e, x, HEADS_FIRST), [batch, groups, (heads / groups) * time, size]);
}

/** Attention weights [B, K, H/K·T, S]: all slots scored, those past a query's position masked. */
function cacheProbabilities(e: Emitter, layout: Layout, keys: Name): Name {
  const [batch, time, heads] = layout.q.shape;
  const [, groups, slots] = layout.cacheShape;
  const rep = heads / groups;
  const queries = groupQueries(e, layout, e.nameOf(layout.q));
  const scores = product(e, queries, keys, { transposeB: true, alpha: layout.scale });
  const positions = reshape(e, newPositions(e, layout), [batch, 1, 1, time, 1]);
  const readable = e.node('LessOrEqual', [e.ints(range(slots)), positions])[0];
  const open = reshape(e, scores, [batch, groups, rep, time, slots]);
  const masked = e.node('Where', [readable, open, e.scalar(MASKED)])[0];
  return reshape(e, softmax(e, masked), [batch, groups, rep * time, slots]);
}

/** Any head size. */
function lowerCachedExplicit(e: Emitter, node: Node<'cachedAttention'>): Name[] {
  const [q, k, v, cacheK, cacheV, lengths] = node.inputs;
  const layout = { q, lengths, cacheShape: cacheK.shape, ...node.params };
  const newK = writeCache(e, layout, e.nameOf(cacheK), e.nameOf(k));
  const newV = writeCache(e, layout, e.nameOf(cacheV), e.nameOf(v));
  const p = cacheProbabilities(e, layout, newK);
  return [unstackHeads(e, product(e, p, newV), q.shape), newK, newV];
}

/** tS = scale·(tq·Kᵀ + q·tKᵀ); z = p ∘ tS; to = z·V − rowsum(z) ∘ (p·V) + p·tV. */
export function lowerCachedAttentionTangent(e: Emitter, node: Node<'cachedAttentionTangent'>): Name[] {
  const [q, newK, newV, lengths, tq, tk, tv, tCacheK, tCacheV] = node.inputs;
  const layout = { q, lengths, cacheShape: newK.shape, ...node.params };
  const [keys, values] = [e.nameOf(newK), e.nameOf(newV)];
  const newTK = writeCache(e, layout, e.nameOf(tCacheK), e.nameOf(tk));
  const newTV = writeCache(e, layout, e.nameOf(tCacheV), e.nameOf(tv));
  const p = cacheProbabilities(e, layout, keys);
  const options = { transposeB: true, alpha: node.params.scale };
  const queries = groupQueries(e, layout, e.nameOf(q));
  const moved = product(e, groupQueries(e, layout, e.nameOf(tq)), keys, options);
  const z = mul(e, p, add(e, moved, product(e, queries, newTK, options)));
  const centred = sub(e, product(e, z, values), mul(e, sum(e, z, [3]), product(e, p, values)));
  return [unstackHeads(e, add(e, centred, product(e, p, newTV)), q.shape), newTK, newTV];
}
