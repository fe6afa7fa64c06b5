/**
 * Steps over rows of a vocabulary's width that the graph writes as several ops, as one kernel each
 * (kernels/float_vocabulary_each.c): the pattern is looked for from its last op.
 */
import type { OpKind } from '../../graph/catalogue.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import type { NativeLoweringTable } from './lowering.js';

/** The operands of the node of this kind that makes a value. */
function operandsOf(e: Emitter, value: Value | undefined, kind: OpKind): readonly Value[] {
  const producer = value && e.view.producerOf(value);
  return producer?.kind === kind ? producer.inputs : [];
}

function emit(e: Emitter, op: string, inputs: readonly (Value | undefined)[], result: Value): boolean {
  if (!e.options.kernels.has(op) || inputs.some((value) => value?.shape.length !== 2)) return false;
  const names = inputs.map((value) => e.nameOf(value!));
  e.bind(result, e.native(op, names, {}, [{ type: result.dtype, shape: result.shape }])[0]);
  return true;
}

/** ln softmax(x) at ids. */
function lowerChosenLogprobs(e: Emitter, { inputs: [values, ids], outputs: [y] }: Node<'gatherElements'>): boolean {
  const [x] = operandsOf(e, values, 'logSoftmax');
  return emit(e, 'FloatLogprob', [x, ids], y);
}

const isOverLast = (e: Emitter, value: Value): boolean => {
  const producer = e.view.producerOf(value);
  if (producer?.kind !== 'reduceSum') return false;
  const { axes, keepDims } = (producer as Node<'reduceSum'>).params;
  return keepDims && axes.join() === '1';
};

/** tx − Σ e^(logSoftmax x)·tx, as the rule of forward mode writes it. */
function lowerLogprobTangent(e: Emitter, { inputs: [tx, mean], outputs: [y] }: Node<'subtract'>): boolean {
  if (!isOverLast(e, mean)) return false;
  const [sum] = operandsOf(e, mean, 'reduceSum');
  const [p, moved] = operandsOf(e, sum, 'multiply');
  const [logprobs] = operandsOf(e, p, 'exponential');
  const [x] = operandsOf(e, logprobs, 'logSoftmax');
  return moved === tx && emit(e, 'FloatLogprobTangent', [x, tx], y);
}

/** Σ e^a·(a − b) of a = logSoftmax x and b = logSoftmax y. */
function lowerDivergence(e: Emitter, { inputs: [terms], outputs: [y] }: Node<'reduceSum'>): boolean {
  if (!isOverLast(e, y)) return false;
  const [p, apart] = operandsOf(e, terms, 'multiply');
  const [a] = operandsOf(e, p, 'exponential');
  const [minuend, b] = operandsOf(e, apart, 'subtract');
  if (a === undefined || a !== minuend) return false;
  return emit(e, 'FloatDivergence', [operandsOf(e, a, 'logSoftmax')[0], operandsOf(e, b, 'logSoftmax')[0]], y);
}

/** The number of cumulative probabilities that do not exceed u times the last of them. */
function lowerDraw(e: Emitter, { inputs: [counted], outputs: [y] }: Node<'cast'>): boolean {
  const [numbers] = operandsOf(e, counted, 'reduceSum');
  const [passed] = operandsOf(e, numbers, 'cast');
  const [cumulative, bound] = operandsOf(e, passed, 'lessOrEqual');
  const [uniforms, last] = operandsOf(e, bound, 'multiply');
  const [whole] = operandsOf(e, last, 'slice');
  const [p] = operandsOf(e, cumulative, 'cumulativeSum');
  if (p === undefined || whole !== cumulative) return false;
  return emit(e, 'FloatDraw', [operandsOf(e, p, 'softmax')[0], uniforms], y);
}

const lowerMode = (e: Emitter, { inputs: [x], outputs: [y] }: Node<'argMax'>): boolean => emit(e, 'FloatMode', [x], y);

export const vocabularyLowerings = {
  gatherElements: [lowerChosenLogprobs],
  subtract: [lowerLogprobTangent],
  reduceSum: [lowerDivergence],
  cast: [lowerDraw],
  argMax: [lowerMode],
} satisfies NativeLoweringTable;
