/** The three ways to estimate Δ(x|c) = ⟨g, ∇ log p(x|c; θ)⟩ = d/dt log p(x|c; θ + t·g) at t = 0. */

/**
 * jvp: the derivative itself, by forward mode. central: [log p(θ+εg) − log p(θ−εg)] / 2ε. forward: [log p(θ+εg) − log p(θ)] / ε.
 * @see arXiv 2504.13146, equations 7 and 10; the one-sided difference is that of its first version
 */
export const ESTIMATOR_KINDS = ['jvp', 'central', 'forward'] as const;

export type EstimatorKind = (typeof ESTIMATOR_KINDS)[number];
