/**
 * Steps over rows of a vocabulary's width that the graph writes as several ops, as one kernel each
 * (kernels/float_vocabulary_each.c): the pattern is looked for from its last op.
 */
import type { OpKind } from '../../graph/catalogue.js';
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { loneMoveOf } from '../moved-linear.js';
import { emitLoneMove, type Wanted } from './decode-linear.js';
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
  return moved !== undefined && emit(e, 'FloatLogprobTangent', moved, y);
}

/** What the kernels have for minus infinity where differences must stay numbers. */
const LOWEST = -1e30;

/** t = select(limit ≤ a, moves, 0), of which the moves need to be known where a is at least `limit` alone. */
interface Cut {
  readonly moves: Value;
  readonly wanted: Wanted;
}

function cutOf(e: Emitter, t: Value): Cut | undefined {
  const [support, moves, zero] = operandsOf(e, t, 'select');
  const [least, values] = operandsOf(e, support, 'lessOrEqual');
  if (values === undefined || values.shape.join() !== t.shape.join()) return undefined;
  const limit = e.view.constantOf(least);
  return limit !== undefined && e.view.constantOf(zero) === 0 ? { moves, wanted: { values, limit } } : undefined;
}

/** Those moves, by name: of a head, computed where they are wanted. */
const movesOf = (e: Emitter, { moves, wanted }: Cut): Name =>
  (e.options.constantWeights && e.view.isReadOnce(moves) && emitLoneMove(e, moves, wanted)) || e.nameOf(moves);

/** A head's moves where they count, zeros elsewhere. */
function lowerCutMoves(e: Emitter, { outputs: [t] }: Node<'select'>): boolean {
  const cut = cutOf(e, t);
  if (cut === undefined || !e.options.constantWeights || loneMoveOf(e, cut.moves) === undefined) return false;
  const zero = e.scalar(0);
  e.bind(t, e.node('Where', [e.nameOf(e.view.producerOf(t)!.inputs[0]), movesOf(e, cut), zero])[0]);
  return true;
}

/** Names of b = a + λ·(t − mean), of the mean, of the divergence from a, of t, which is defined where it counts, and of a draw from b. */
interface Tilt {
  readonly tilted: Name;
  readonly mean: Name;
  readonly divergence: Name;
  readonly t: Name;
  readonly drawn: Name | undefined;
}

/** t of t − Σ softmax(a)·t. */
function centredOf(e: Emitter, value: Value | undefined, a: Value): Value | undefined {
  const [t, mean] = operandsOf(e, value, 'subtract');
  if (mean === undefined || !isOverLast(e, mean)) return undefined;
  const [sum] = operandsOf(e, mean, 'reduceSum');
  const [p, moved] = operandsOf(e, sum, 'multiply');
  return moved === t && operandsOf(e, p, 'softmax')[0] === a ? t : undefined;
}

/** A sum of logits a and λ·Δ, with Δ = t − Σ softmax(a)·t. */
function tiltOf(e: Emitter, tilted: Value | undefined): { logits: Value; tilt: Tilt } | undefined {
  if (tilted === undefined || !e.options.kernels.has('FloatTilt')) return undefined;
  const [logits, shift] = operandsOf(e, tilted, 'add');
  const [factor, delta] = operandsOf(e, shift, 'multiply');
  const t = logits && centredOf(e, delta, logits);
  if (t === undefined || logits.shape.join() !== t.shape.join() || t.shape.length !== 2) return undefined;
  const [rows] = logits.shape;
  if (factor.shape.join() !== [rows, 1].join()) return undefined;
  const tilt = e.once(`tilt ${e.idOf(tilted)}`, (): Tilt => {
    const cut = cutOf(e, t);
    const isCut = cut?.wanted.values === logits;
    const moves = isCut ? movesOf(e, cut) : e.nameOf(t);
    const attributes = { cut: { int: isCut ? 1 : 0 }, limit: { float: isCut ? cut.wanted.limit : 0 } };
    const column = { type: 'float32', shape: [rows, 1] } as const;
    const draw = drawFrom(e, tilted);
    const outputs = [
      { type: 'float32', shape: logits.shape, isOptional: true } as const,
      ...[column, column],
      ...(draw === undefined ? [] : [{ type: 'int64', shape: [rows] } as const]),
    ];
    const inputs = [e.nameOf(logits), moves, e.nameOf(factor), draw === undefined ? '' : e.nameOf(draw.uniforms)];
    const [y, mean, divergence, drawn] = e.native('FloatTilt', inputs, attributes, outputs);
    return { tilted: y, mean, divergence, t: moves, drawn };
  });
  return { logits, tilt };
}

function lowerTilt(e: Emitter, { outputs: [y] }: Node<'add'>): boolean {
  const found = tiltOf(e, y);
  if (found === undefined) return false;
  e.bind(y, found.tilt.tilted);
  return true;
}

/** Δ of chosen ids, of a Δ that logits are tilted by. */
function lowerChosenDeltas(e: Emitter, { inputs: [delta, ids], outputs: [y] }: Node<'gatherElements'>): boolean {
  if (operandsOf(e, delta, 'subtract').length === 0) return false;
  const sums = e.view.consumersOf(delta).flatMap(({ outputs: [shift] }) => e.view.consumersOf(shift));
  for (const { outputs } of sums) {
    const found = tiltOf(e, outputs[0]);
    if (found === undefined) continue;
    const { mean, t } = found.tilt;
    const [moved] = e.node('GatherElements', [t, e.nameOf(ids)], { axis: { int: 1 } });
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
    e.bind(y, tilted.tilt.divergence);
    return true;
  }
  return emit(e, 'FloatDivergence', [x, from], y);
}

/** x where it is at least max x + distance, LOWEST elsewhere. */
function lowerMinP(e: Emitter, { inputs: [kept, x, floor], outputs: [y] }: Node<'select'>): boolean {
  const [least, values] = operandsOf(e, kept, 'lessOrEqual');
  const sum = operandsOf(e, least, 'add');
  const most = sum.map((value) => e.view.producerOf(value)).find((node) => node?.kind === 'reduceMax') as
    | Node<'reduceMax'>
    | undefined;
  const distance = sum.find((value) => value !== most?.outputs[0]);
  if (most === undefined || distance === undefined || values !== x || most.inputs[0] !== x) return false;
  const isColumn = [distance, most.outputs[0]].every(({ shape }) => shape.join() === [x.shape[0], 1].join());
  if (!isColumn || e.view.constantOf(floor) !== LOWEST) return false;
  return emit(e, 'FloatMinP', [x, distance], y);
}

interface Draw {
  readonly logits: Value;
  readonly uniforms: Value;
}

/** The number of cumulative probabilities that do not exceed u times the last of them. */
function drawOf(e: Emitter, counted: Value): Draw | undefined {
  const [numbers] = operandsOf(e, counted, 'reduceSum');
  const [passed] = operandsOf(e, numbers, 'cast');
  const [cumulative, bound] = operandsOf(e, passed, 'lessOrEqual');
  const [uniforms, last] = operandsOf(e, bound, 'multiply');
  const [whole] = operandsOf(e, last, 'slice');
  const [p] = operandsOf(e, cumulative, 'cumulativeSum');
  if (p === undefined || whole !== cumulative) return undefined;
  const [logits] = operandsOf(e, p, 'softmax');
  return logits?.shape.length === 2 ? { logits, uniforms } : undefined;
}

/** Kinds of the nodes from logits to ids that are drawn from them. */
const DRAWING: readonly OpKind[] = ['softmax', 'cumulativeSum', 'lessOrEqual', 'cast', 'reduceSum'];

/** The draw from logits, if the graph has one. */
function drawFrom(e: Emitter, logits: Value): Draw | undefined {
  const made = DRAWING.reduce<readonly Value[]>(
    (values, kind) =>
      values.flatMap((value) =>
        e.view.consumersOf(value).flatMap((node) => (node.kind === kind ? [node.outputs[0]] : [])),
      ),
    [logits],
  );
  return made.map((counted) => drawOf(e, counted)).find((draw) => draw?.logits === logits);
}

function lowerDraw(e: Emitter, { inputs: [counted], outputs: [y] }: Node<'cast'>): boolean {
  const draw = drawOf(e, counted);
  if (draw === undefined) return false;
  const drawn = tiltOf(e, draw.logits)?.tilt.drawn;
  if (drawn === undefined) return emit(e, 'FloatDraw', [draw.logits, draw.uniforms], y);
  e.bind(y, drawn);
  return true;
}

const lowerArgmax = (e: Emitter, { inputs: [x], outputs: [y] }: Node<'argMax'>): boolean =>
  emit(e, 'FloatArgmax', [x], y);

export const vocabularyLowerings = {
  add: [lowerTilt],
  gatherElements: [lowerChosenLogprobs, lowerChosenDeltas],
  subtract: [lowerLogprobTangent],
  reduceSum: [lowerDivergence],
  select: [lowerMinP, lowerCutMoves],
  cast: [lowerDraw],
  argMax: [lowerArgmax],
} satisfies NativeLoweringTable;
