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
        const logits = multiply(g, linear(g, hidden, head), scalar(g, 1 / temperature)); // [N, V]
        const perToken = cellDivergence(g, logits, { ...cellsOf(g, logits, inputs), divergence, beta }); // [N]
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

interface TeacherCells {
  /** [N, V]: 1 at the tokens kept. */
  readonly kept: Value;
  /** [N, V]: ln p of the tokens kept, 0 elsewhere. */
  readonly logprobs: Value;
  /** [N, 1] */
  readonly tail: Value;
}

function cellsOf(g: GraphBuilder, logits: Value, inputs: Readonly<Record<string, Value>>): TeacherCells {
  const { teacherIds, teacherLogprobs, teacherTail } = inputs;
  const zeros = fill(g, logits.shape, 0);
  return {
    kept: scatterElements(g, zeros, teacherIds, fill(g, teacherIds.shape, 1)),
    logprobs: scatterElements(g, zeros, teacherIds, teacherLogprobs),
    tail: teacherTail,
  };
}

/** D over the cells, one number a position [N]; logits [N, V] are the student's, tempered. */
function cellDivergence(
  g: GraphBuilder,
  logits: Value,
  { kept, logprobs, tail, divergence, beta }: TeacherCells & { divergence: Divergence; beta: number },
): Value {
  const least = scalar(g, LEAST);
  const lnQ = logSoftmax(g, logits);
  const q = exponential(g, lnQ);
  // Of the others, not 1 − Σ kept: that would be rounding where the student agrees with the teacher.
  const qTail = maximum(g, reduceSum(g, multiply(g, subtract(g, scalar(g, 1), kept), q), [1], true), least);
  const others = { lnP: logarithm(g, maximum(g, tail, least)), lnQ: logarithm(g, qTail), p: tail, q: qTail };
  const p = multiply(g, kept, exponential(g, logprobs));
  const byToken = multiply(g, kept, contribution(g, { lnP: logprobs, lnQ, p, q }, { divergence, beta }));
  const total = add(g, reduceSum(g, byToken, [1], true), contribution(g, others, { divergence, beta }));
  return reshape(g, total, [logits.shape[0]]);
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
