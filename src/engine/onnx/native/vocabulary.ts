/**
 * Steps over rows of a vocabulary's width that the graph writes as several ops, as one kernel each
 * (kernels/float_vocabulary_each.c): the pattern is looked for from its last op.
 */
import type { OpKind } from '../../graph/catalogue.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { isOnInput, moveOf } from '../moved-linear.js';
import { emitWantedMove } from './decode-linear.js';
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

/** x and tx of tx − Σ e^(logSoftmax x)·tx, as the rule of forward mode writes it. */
function movedLogprobsOf(e: Emitter, value: Value | undefined): readonly [x: Value, tx: Value] | undefined {
  const [tx, mean] = operandsOf(e, value, 'subtract');
  if (mean === undefined || !isOverLast(e, mean)) return undefined;
  const [sum] = operandsOf(e, mean, 'reduceSum');
  const [p, moved] = operandsOf(e, sum, 'multiply');
  const [logprobs] = operandsOf(e, p, 'exponential');
  const [x] = operandsOf(e, logprobs, 'logSoftmax');
  return x !== undefined && moved === tx && tx.shape.length === 2 ? [x, tx] : undefined;
}

function lowerLogprobTangent(e: Emitter, { outputs: [y] }: Node<'subtract'>): boolean {
  const moved = movedLogprobsOf(e, y);
  if (moved === undefined || !e.options.kernels.has('FloatLogprobTangent')) return false;
  const cut = cutHead(e, ...moved);
  const [x, tx] = cut?.names ?? moved.map((value) => e.nameOf(value));
  const names = [x, tx, cut === undefined ? '' : e.nameOf(cut.wanted)];
  const attributes = cut === undefined ? {} : { limit: { float: cut.limit } };
  e.bind(y, e.native('FloatLogprobTangent', names, attributes, [{ type: y.dtype, shape: y.shape }])[0]);
  return true;
}

/** What the kernels have for minus infinity where differences must stay numbers. */
const LOWEST = -1e30;

/** A layer and its tangent, by name, which are defined where `wanted` is at least `limit`. */
interface CutHead {
  readonly names: readonly [x: Name, tx: Name];
  readonly wanted: Value;
  readonly limit: number;
}

/**
 * x = select(limit ≤ w, z, LOWEST) and tx = select(limit ≤ w, tz, 0) of a layer z and its tangent tz, which then are computed where they are
 * selected alone.
 */
function cutHead(e: Emitter, x: Value, tx: Value): CutHead | undefined {
  if (!e.options.constantWeights || !e.options.kernels.has('DecodeLinearTangent')) return undefined;
  const [support, scores, floor] = operandsOf(e, x, 'select');
  const [movedSupport, movedScores, zero] = operandsOf(e, tx, 'select');
  const [least, wanted] = operandsOf(e, support, 'lessOrEqual');
  const layer = scores && e.view.producerOf(scores);
  if (wanted === undefined || support !== movedSupport || !isOnInput(e, layer)) return undefined;
  const [limit, outside, still] = [least, floor, zero].map((value) => e.view.constantOf(value));
  const move = moveOf(e, layer);
  const isCut = outside === LOWEST && still === 0 && wanted.shape.join() === scores.shape.join();
  if (!isCut || limit === undefined || move?.ty !== movedScores) return undefined;
  return { names: emitWantedMove(e, layer, move, { values: wanted, limit }), wanted, limit };
}

/** Names of a + λ·(tx − mean), of the mean, of the divergence from a, and of tx, which is defined where it counts. */
type Tilt = readonly [tilted: Name, mean: Name, divergence: Name, tx: Name];

/** A sum of logits a and λ·Δ, Δ being how log-probabilities move. */
function tiltOf(e: Emitter, tilted: Value | undefined): { logits: Value; tilt: Tilt } | undefined {
  if (tilted === undefined || !e.options.kernels.has('FloatTilt')) return undefined;
  const [logits, shift] = operandsOf(e, tilted, 'add');
  const [factor, delta] = operandsOf(e, shift, 'multiply');
  const moved = movedLogprobsOf(e, delta);
  if (moved === undefined || logits.shape.join() !== delta.shape.join()) return undefined;
  const [rows] = logits.shape;
  if (factor.shape.join() !== [rows, 1].join()) return undefined;
  const tilt = e.once(`tilt ${e.idOf(tilted)}`, (): Tilt | undefined => {
    const cut = cutHead(e, ...moved);
    if (cut !== undefined && cut.wanted !== logits) return undefined;
    const [x, tx] = cut?.names ?? moved.map((value) => e.nameOf(value));
    const attributes = { cut: { int: cut === undefined ? 0 : 1 }, limit: { float: cut?.limit ?? 0 } };
    const column = { type: 'float32', shape: [rows, 1] } as const;
    const outputs = [{ type: 'float32', shape: logits.shape } as const, column, column];
    const [y, mean, divergence] = e.native(
      'FloatTilt',
      [e.nameOf(logits), x, tx, e.nameOf(factor)],
      attributes,
      outputs,
    );
    return [y, mean, divergence, tx];
  });
  return tilt && { logits, tilt };
}

function lowerTilt(e: Emitter, { outputs: [y] }: Node<'add'>): boolean {
  const found = tiltOf(e, y);
  if (found === undefined) return false;
  e.bind(y, found.tilt[0]);
  return true;
}

/** Δ of chosen ids, of a Δ that logits are tilted by. */
function lowerChosenDeltas(e: Emitter, { inputs: [delta, ids], outputs: [y] }: Node<'gatherElements'>): boolean {
  if (movedLogprobsOf(e, delta) === undefined) return false;
  const sums = e.view.consumersOf(delta).flatMap(({ outputs: [shift] }) => e.view.consumersOf(shift));
  for (const { outputs } of sums) {
    const found = tiltOf(e, outputs[0]);
    if (found === undefined) continue;
    const [, mean, , tx] = found.tilt;
    const [moved] = e.node('GatherElements', [tx, e.nameOf(ids)], { axis: { int: 1 } });
    e.bind(y, e.node('Sub', [moved, mean])[0]);
    return true;
  }
  return false;
}

/** Σ e^a·(a − b) of a = logSoftmax x and b = logSoftmax y. */
function lowerDivergence(e: Emitter, { inputs: [terms], outputs: [y] }: Node<'reduceSum'>): boolean {
  if (!isOverLast(e, y)) return false;
  const [p, apart] = operandsOf(e, terms, 'multiply');
  const [a] = operandsOf(e, p, 'exponential');
  const [minuend, b] = operandsOf(e, apart, 'subtract');
  if (a === undefined || a !== minuend) return false;
  const [[x], [from]] = [operandsOf(e, a, 'logSoftmax'), operandsOf(e, b, 'logSoftmax')];
  const tilted = tiltOf(e, x);
  if (tilted !== undefined && tilted.logits === from) {
    e.bind(y, tilted.tilt[2]);
    return true;
  }
  return emit(e, 'FloatDivergence', [x, from], y);
}

/** x where it is at least max x + distance, LOWEST elsewhere. */
function lowerCut(e: Emitter, { inputs: [kept, x, floor], outputs: [y] }: Node<'select'>): boolean {
  const [least, values] = operandsOf(e, kept, 'lessOrEqual');
  const sum = operandsOf(e, least, 'add');
  const most = sum.map((value) => e.view.producerOf(value)).find((node) => node?.kind === 'reduceMax') as
    | Node<'reduceMax'>
    | undefined;
  const distance = sum.find((value) => value !== most?.outputs[0]);
  if (most === undefined || distance === undefined || values !== x || most.inputs[0] !== x) return false;
  const isColumn = [distance, most.outputs[0]].every(({ shape }) => shape.join() === [x.shape[0], 1].join());
  if (!isColumn || e.view.constantOf(floor) !== LOWEST) return false;
  return emit(e, 'FloatCut', [x, distance], y);
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
  add: [lowerTilt],
  gatherElements: [lowerChosenLogprobs, lowerChosenDeltas],
  subtract: [lowerLogprobTangent],
  reduceSum: [lowerDivergence],
  select: [lowerCut],
  cast: [lowerDraw],
  argMax: [lowerMode],
} satisfies NativeLoweringTable;
