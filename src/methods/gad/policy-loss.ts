/** What the student minimises on its own responses: GRPO's clipped surrogate and the distance to a reference. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import {
  detach,
  exponential,
  headLoss,
  lessOrEqual,
  maximum,
  minimum,
  multiply,
  negate,
  reduceSum,
  scalar,
  select,
  subtract,
} from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import type { TokenLoss } from '../../training/objective.js';

export interface PolicySettings {
  /** Temperature of the policy: that of the rollouts. */
  readonly temperature: number;
  /** Largest change of a token's probability ratio that is rewarded: ratios count within 1 ± this. */
  readonly clipFraction: number;
  /** Weight of the KL to the reference. */
  readonly klWeight: number;
}

/** Largest ln(π_ref/π) that counts, so that e to it is finite. */
const LARGEST_LOG_RATIO = 20;

/**
 * Loss Σ weights·[−min(ρ·A, clip(ρ, 1 ± c)·A) + β·(e^d − d − 1)] with ρ = π(token)/π_old(token) and d = ln π_ref − ln π (k3). All at
 * the policy's temperature. Inputs [B·T]: targets int64, weights, advantages, oldLogprobs, referenceLogprobs; isOnPolicy []: 1 where
 * π_old is π as it stands (a constant; oldLogprobs are not read, ρ is 1), 0 where it is that of oldLogprobs. Outputs [B·T]:
 * logprobs = ln π(target), ratios = ρ.
 * @see GRPO, arXiv 2402.03300, eq. 3 and 4; k3: Schulman, "Approximating KL divergence", 2020
 */
export function policyLoss({ temperature, clipFraction, klWeight }: PolicySettings): TokenLoss {
  const columns = ['weights', 'advantages', 'oldLogprobs', 'referenceLogprobs'] as const;
  return {
    key: `policy/${temperature}/${clipFraction}/${klWeight}`,
    inputs: ({ batch, time }) => ({
      targets: { dtype: 'int64', shape: [batch * time] },
      ...Object.fromEntries(columns.map((name) => [name, { dtype: 'float32' as const, shape: [batch * time] }])),
      isOnPolicy: { dtype: 'float32', shape: [] },
    }),
    outputs: ({ batch, time }) => ({
      logprobs: { dtype: 'float32', shape: [batch * time] },
      ratios: { dtype: 'float32', shape: [batch * time] },
    }),
    build(g, { hidden, head, inputs }) {
      const { targets, weights, advantages, oldLogprobs, referenceLogprobs, isOnPolicy } = inputs;
      // Logits divided by the temperature are those of hidden states divided by it.
      const tempered = temperature === 1 ? hidden : multiply(g, hidden, scalar(g, 1 / temperature));
      const logprobs = negate(g, headLoss(g, tempered, head, { targets, weights }).nll);
      const old = select(g, lessOrEqual(g, scalar(g, 1), isOnPolicy), detach(g, logprobs), oldLogprobs);
      const ratio = exponential(g, subtract(g, logprobs, old));
      const clipped = maximum(g, minimum(g, ratio, scalar(g, 1 + clipFraction)), scalar(g, 1 - clipFraction));
      const surrogate = minimum(g, multiply(g, ratio, advantages), multiply(g, clipped, advantages));
      const perToken = subtract(g, k3(g, { logprobs, referenceLogprobs, klWeight }), surrogate);
      return { loss: reduceSum(g, multiply(g, weights, perToken), [0]), outputs: { logprobs, ratios: ratio } };
    },
  };
}

function k3(
  g: GraphBuilder,
  { logprobs, referenceLogprobs, klWeight }: { logprobs: Value; referenceLogprobs: Value; klWeight: number },
): Value {
  const d = minimum(g, subtract(g, referenceLogprobs, logprobs), scalar(g, LARGEST_LOG_RATIO));
  return multiply(g, subtract(g, subtract(g, exponential(g, d), d), scalar(g, 1)), scalar(g, klWeight));
}

/** Output logprobs [B·T] = ln softmax(logits/T)[target]; input targets [B·T]. For the reference. */
export function targetLogprobs(temperature: number): TokenLoss {
  return {
    key: `target-logprobs/${temperature}`,
    inputs: ({ batch, time }) => ({
      targets: { dtype: 'int64', shape: [batch * time] },
      weights: { dtype: 'float32', shape: [batch * time] },
    }),
    outputs: ({ batch, time }) => ({ logprobs: { dtype: 'float32', shape: [batch * time] } }),
    build(g, { hidden, head, inputs: { targets, weights } }) {
      const tempered = temperature === 1 ? hidden : multiply(g, hidden, scalar(g, 1 / temperature));
      const { loss, nll } = headLoss(g, tempered, head, { targets, weights });
      return { loss, outputs: { logprobs: negate(g, nll) } };
    },
  };
}
