/** AdamW with global-norm clipping as standard nodes, as PyTorch orders it (decay before the step, 1e-6 in the clip). */
import type { Node } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { add, div, mul, sub } from './primitives.js';

const CLIP_EPSILON = 1e-6;

export function lowerAdamw(e: Emitter, node: Node<'adamw'>): Name[] {
  const { beta1, beta2, epsilon, decays } = node.params;
  const n = decays.length;
  const [learningRate, correction1, correction2, maxNorm, ...tensors] = node.inputs.map((value) => e.nameOf(value));
  const [parameters, gradients, firstMoments, secondMoments] = [0, 1, 2, 3].map((part) =>
    tensors.slice(part * n, part * n + n),
  );
  const sqrt = (x: Name) => e.node('Sqrt', [x])[0];

  // Every update waits for the norm, and the norm for every gradient: by then all reads of the parameters are done, so the
  // results may be written over them.
  const squares = gradients.map((g) => e.node('ReduceSumSquare', [g], { keepdims: { int: 0 } })[0]);
  const norm = sqrt(n === 1 ? squares[0] : e.node('Sum', squares)[0]);
  const clip = e.node('Min', [div(e, maxNorm, add(e, norm, e.scalar(CLIP_EPSILON))), e.scalar(1)])[0];

  // p ← p − (lr·√c₂/c₁) · m / (√v + ε·√c₂): the bias corrections as scalars instead of two passes over memory.
  const root2 = sqrt(correction2);
  const stepSize = div(e, mul(e, learningRate, root2), correction1);
  const scaledEpsilon = mul(e, root2, e.scalar(epsilon));
  const weight1 = mul(e, clip, e.scalar(1 - beta1));
  const weight2 = mul(e, mul(e, clip, clip), e.scalar(1 - beta2));

  const updated = decays.map((decay, index) => {
    const g = gradients[index];
    const m = add(e, mul(e, firstMoments[index], e.scalar(beta1)), mul(e, g, weight1));
    const v = add(e, mul(e, secondMoments[index], e.scalar(beta2)), mul(e, mul(e, g, g), weight2));
    const step = mul(e, div(e, m, add(e, sqrt(v), scaledEpsilon)), stepSize);
    const keep = sub(e, e.scalar(1), mul(e, learningRate, e.scalar(decay)));
    const p = sub(e, decay === 0 ? parameters[index] : mul(e, parameters[index], keep), step);
    return { p, m, v };
  });
  return [norm, ...updated.map(({ p }) => p), ...updated.map(({ m }) => m), ...updated.map(({ v }) => v)];
}
