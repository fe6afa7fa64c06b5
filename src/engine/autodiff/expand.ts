/** A builder in which everything can be differentiated twice: the large steps of a transformer become elementary ones. */
import { invariant } from '../../support/errors.js';
import type { GraphBuilder } from '../graph/builder.js';
import type { OpKind, OpParams } from '../graph/catalogue.js';
import {
  add,
  broadcast,
  divide,
  matmul,
  multiply,
  reduceSum,
  reshape,
  scalar,
  sigmoid,
  softmax,
  squareRoot,
  transpose,
} from '../graph/ops.js';
import type { Value } from '../graph/types.js';

/** A score that is no part of a softmax. */
const MASKED = -1e9;

/**
 * The same builder but for `rmsNorm`, `swiglu` and `attention`, whose gradients are ops without a gradient of their own: here they
 * are written out. Slower, and attention holds its T × T probabilities; for losses that contain a gradient.
 */
export function expandComposites(g: GraphBuilder): GraphBuilder {
  return {
    ...g,
    apply<K extends OpKind>(kind: K, inputs: readonly Value[], params: OpParams[K], label?: string) {
      if (kind === 'rmsNorm') return rmsNorm(g, inputs, params as OpParams['rmsNorm']);
      if (kind === 'swiglu') return [multiply(g, multiply(g, inputs[0], sigmoid(g, inputs[0])), inputs[1])];
      if (kind === 'attention') return [attention(g, inputs, params as OpParams['attention'])];
      return g.apply(kind, inputs, params, label);
    },
  };
}

function rmsNorm(g: GraphBuilder, [x, gain]: readonly Value[], { epsilon }: OpParams['rmsNorm']): Value[] {
  const width = x.shape[1];
  const meanSquare = multiply(g, reduceSum(g, multiply(g, x, x), [1], true), scalar(g, 1 / width));
  const r = divide(g, scalar(g, 1), squareRoot(g, add(g, meanSquare, scalar(g, epsilon)))); // [N, 1]
  return [multiply(g, multiply(g, x, r), gain), r];
}

function attention(g: GraphBuilder, [q, k, v]: readonly Value[], { scale }: OpParams['attention']): Value {
  const [batch, time, numHeads, headSize] = q.shape;
  const numKvHeads = k.shape[2];
  invariant(numHeads % numKvHeads === 0, `${numHeads} query heads do not share ${numKvHeads} key/value heads`);
  const shared = numHeads / numKvHeads;
  /** [B, T, K, D] → [B, H, T, D], each key/value head once for every query head that reads it. */
  const forQueries = (x: Value): Value => {
    const byHead = reshape(g, transpose(g, x, [0, 2, 1, 3]), [batch, numKvHeads, 1, time, headSize]);
    const repeated = broadcast(g, byHead, [batch, numKvHeads, shared, time, headSize]);
    return reshape(g, repeated, [batch, numHeads, time, headSize]);
  };
  const mask = Float32Array.from({ length: time * time }, (_, at) => (at % time > Math.floor(at / time) ? MASKED : 0));
  const scores = matmul(g, transpose(g, q, [0, 2, 1, 3]), forQueries(k), { transposeB: true, alpha: scale });
  const probabilities = softmax(g, add(g, scores, g.constant('float32', [time, time], mask)));
  return transpose(g, matmul(g, probabilities, forQueries(v)), [0, 2, 1, 3]);
}
