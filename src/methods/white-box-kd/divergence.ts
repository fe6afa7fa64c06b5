/** Divergences between the next-token distributions of teacher and student, as graphs. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import {
  add,
  exponential,
  fill,
  headLoss,
  linear,
  logarithm,
  logSoftmax,
  maximum,
  multiply,
  reduceSum,
  reshape,
  scalar,
  scatterElements,
  subtract,
} from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import type { TokenLoss } from '../../training/objective.js';
import type { Divergence, WhiteBoxConfig } from './config.js';

/** The least mass that takes part in a logarithm, so that nothing is infinite: e^−69. */
const LEAST = 1e-30;
/** What takes a log-probability to one whose exponential is 0. */
const HIDDEN = -1e4;

/**
 * Loss Σ weights·[(1 − h)·T²·D(p, q) − h·ln q₁(target)], h the hard fraction, q₁ the student at temperature 1, p and q at T. D is
 * taken over k + 1 cells: the teacher's k likeliest tokens, and all others together. Merging cells only lowers a divergence
 * (data processing), and k = V keeps them all.
 *
 * Inputs beside targets and weights [B·T]: teacherIds [B·T, k] int64, teacherLogprobs [B·T, k] = ln p and teacherTail [B·T, 1], the
 * mass of the others.
 * @see Hinton et al. 2015, arXiv 1503.02531, section 2 (T², hard labels); GKD, arXiv 2306.13649, section 3 (divergences)
 */
export function divergenceLoss(config: WhiteBoxConfig, topK: number): TokenLoss {
  const { divergence, beta, temperature, hardFraction } = config;
  return {
    key: `white-box/${divergence}/${beta}/${temperature}/${hardFraction}/${topK}`,
    inputs: ({ batch, time }) => ({
      targets: { dtype: 'int64', shape: [batch * time] },
      weights: { dtype: 'float32', shape: [batch * time] },
      teacherIds: { dtype: 'int64', shape: [batch * time, topK] },
      teacherLogprobs: { dtype: 'float32', shape: [batch * time, topK] },
      teacherTail: { dtype: 'float32', shape: [batch * time, 1] },
    }),
    build(g, { hidden, head, inputs }) {
      const { targets, weights } = inputs;
      const hard = () => multiply(g, headLoss(g, hidden, head, { targets, weights }).loss, scalar(g, hardFraction));
      const soft = () => {
        // Logits divided by the temperature are those of hidden states divided by it.
        const tempered = temperature === 1 ? hidden : multiply(g, hidden, scalar(g, 1 / temperature));
        const perToken = cellDivergence(g, linear(g, tempered, head), { inputs, divergence, beta }); // [N]
        return multiply(
          g,
          reduceSum(g, multiply(g, weights, perToken), [0]),
          scalar(g, (1 - hardFraction) * temperature ** 2),
        );
      };
      if (hardFraction === 0) return { loss: soft() };
      return { loss: hardFraction === 1 ? hard() : add(g, soft(), hard()) };
    },
  };
}

interface DivergenceOf {
  readonly inputs: Readonly<Record<string, Value>>;
  readonly divergence: Divergence;
  readonly beta: number;
}

/** D over the cells, one number a position [N]; logits [N, V] are the student's, tempered. */
function cellDivergence(g: GraphBuilder, logits: Value, { inputs, divergence, beta }: DivergenceOf): Value {
  const { teacherIds, teacherLogprobs, teacherTail } = inputs;
  const least = scalar(g, LEAST);
  const spread = (values: Value) => scatterElements(g, fill(g, logits.shape, 0), teacherIds, values); // [N, V]
  const lnQ = logSoftmax(g, logits);
  const mask = spread(fill(g, teacherIds.shape, HIDDEN));
  // Of the others, not 1 − Σ kept: that would be rounding where the student agrees with the teacher.
  const qTail = maximum(g, reduceSum(g, exponential(g, add(g, lnQ, mask)), [1], true), least); // [N, 1]
  const others = {
    lnP: logarithm(g, maximum(g, teacherTail, least)),
    lnQ: logarithm(g, qTail),
    p: teacherTail,
    q: qTail,
  };
  const p = exponential(g, teacherLogprobs); // [N, k]
  const byToken = () => {
    const kept = spread(fill(g, teacherIds.shape, 1));
    const parts = { lnP: spread(teacherLogprobs), lnQ, p: spread(p), q: exponential(g, lnQ) };
    return reduceSum(g, multiply(g, kept, contribution(g, parts, { divergence, beta })), [1], true);
  };
  // Σ p·ln p is no function of the student, so that of the whole vocabulary one product remains.
  const crossed = () =>
    subtract(
      g,
      reduceSum(g, multiply(g, p, teacherLogprobs), [1], true),
      reduceSum(g, multiply(g, spread(p), lnQ), [1], true),
    );
  const ofKept = divergence === 'forwardKl' ? crossed() : byToken();
  return reshape(g, add(g, ofKept, contribution(g, others, { divergence, beta })), [logits.shape[0]]);
}

/** What each cell adds to the divergence. */
function contribution(
  g: GraphBuilder,
  { lnP, lnQ, p, q }: { lnP: Value; lnQ: Value; p: Value; q: Value },
  { divergence, beta }: { divergence: Divergence; beta: number },
): Value {
  if (divergence === 'forwardKl') return multiply(g, p, subtract(g, lnP, lnQ));
  if (divergence === 'reverseKl') return multiply(g, q, subtract(g, lnQ, lnP));
  const ofTeacher = scalar(g, beta);
  const ofStudent = scalar(g, 1 - beta);
  const mixture = add(g, multiply(g, ofTeacher, p), multiply(g, ofStudent, q));
  const lnMixture = logarithm(g, maximum(g, mixture, scalar(g, LEAST)));
  return add(
    g,
    multiply(g, ofTeacher, multiply(g, p, subtract(g, lnP, lnMixture))),
    multiply(g, ofStudent, multiply(g, q, subtract(g, lnQ, lnMixture))),
  );
}
