/**
 * Linear layers of graphs that run many times with the same parameters: on packed weights, with the norm before them and what
 * follows them inside, and in one sweep with their tangents where the graph has them.
 */
import type { Node, Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';
import { matrixOf } from '../half-matrix.js';
import type { Attribute } from '../model-writer.js';
import { isOnInput, loneMoveOf, type Move, moveOf, soleSum } from '../moved-linear.js';
import { blockOpOf } from './block-op.js';
import { flatName, unshaped } from './unshaped.js';

/** Layers that one op computes from the same input. */
const MAX_PARTS = 4;

/** Linear layers of one input that become one node, and what is done to their results. */
interface Group {
  readonly layers: readonly Pick<Node, 'inputs'>[];
  /** What is computed: of each layer, or one value where they are gated or summed. */
  readonly results: readonly Value[];
  readonly residual?: Value;
  readonly isGated?: boolean;
}

/** Whether layers are computed together with their tangents: on packed weights. */
const hasMoves = ({ options: { kernels, precision } }: Emitter): boolean =>
  precision === 'bfloat16' && kernels.has('DecodeLinearTangent');

/** Moves of all layers along one tangent of their input; undefined unless all have one. */
function movesOf(e: Emitter, layers: readonly Node[]): readonly Move[] | undefined {
  if (!hasMoves(e)) return undefined;
  const moves = layers.map((layer) => moveOf(e, layer)).filter((move) => move !== undefined);
  return moves.length === layers.length && moves.every(({ tx }) => tx === moves[0].tx) ? moves : undefined;
}

interface Norm {
  readonly x: Value;
  readonly gain: Value;
  readonly epsilon: number;
}

/** The norm whose result is x, if the kernel can compute it on the way. */
function normBefore(e: Emitter, x: Value): Norm | undefined {
  const source = unshaped(e, x);
  const producer = e.view.producerOf(source);
  if (producer?.kind !== 'rmsNorm' || source !== producer.outputs[0] || e.hasFloat(source)) return undefined;
  const [before, gain] = producer.inputs;
  if (matrixOf(source.shape).width !== matrixOf(x.shape).width) return undefined;
  return { x: before, gain, epsilon: (producer as Node<'rmsNorm'>).params.epsilon };
}

/** Tangents of a norm's input and gain, where `tx` is the tangent of its result. */
function movedNorm(e: Emitter, norm: Norm, tx: Value): { x: Value; gain: Value } | undefined {
  const producer = e.view.producerOf(unshaped(e, tx));
  if (producer?.kind !== 'rmsNormTangent' || producer.inputs[0] !== norm.x || producer.inputs[1] !== norm.gain) return;
  return { x: producer.inputs[3], gain: producer.inputs[4] };
}

const optional = (e: Emitter, value: Value | undefined): Name => (value === undefined ? '' : flatName(e, value));

const four = (e: Emitter, values: readonly (Value | undefined)[]): Name[] =>
  Array.from({ length: MAX_PARTS }, (_, index) => optional(e, values[index]));

function attributesOf(e: Emitter, { layers, isGated }: Group, norm: Norm | undefined): Record<string, Attribute> {
  const { rows, width } = matrixOf(layers[0].inputs[0].shape);
  return {
    threads: { int: e.options.numThreads },
    gated: { int: isGated ? 1 : 0 },
    rows: { int: rows },
    features: { int: width },
    ...Object.fromEntries(layers.map(({ inputs: [, weight] }, index) => [`n${index}`, { int: weight.shape[0] }])),
    ...(norm !== undefined && { epsilon: { float: norm.epsilon } }),
  };
}

const typeOf = ({ shape }: Value) => ({ type: 'float32', shape }) as const;

/** Whether a layer can compute on its weight as it is stored. */
const isStored = (e: Emitter, { inputs: [, weight] }: Pick<Node, 'inputs'>): boolean =>
  e.storedOf(weight) !== undefined;

/** Whether a layer is computed here: in float32 on blocks alone, and not where it moves, as its weight is then needed in float32 anyway. */
const isHere = (e: Emitter, layer: Node<'linear'>): boolean =>
  e.options.precision === 'bfloat16' || (isStored(e, layer) && moveOf(e, layer) === undefined);

/** A linear layer that is computed here. */
const isLayer = (e: Emitter, node: Node | undefined): node is Node<'linear'> => isOnInput(e, node) && isHere(e, node);

/** A weight as DecodeLinear reads it. */
const panelsOf = (e: Emitter, weight: Value): Name => e.packedOf([weight], 'weight');

/** A weight as DecodeLinearTangent reads it where it computes tangents alone. */
const bytesOf = (e: Emitter, weight: Value): Name => e.packedOf([weight], 'bytes');

/** The op for these layers, its further attributes, and their weights: as they are stored where all of them are, else packed. */
function weightsOf(
  e: Emitter,
  layers: readonly Pick<Node, 'inputs'>[],
): { op: string; formats: Record<string, Attribute>; names: Name[] } {
  const weights = layers.map(({ inputs: [, weight] }) => weight);
  const op = blockOpOf(e.options.kernels, e.options.precision);
  if (op === undefined || !layers.every((layer) => isStored(e, layer)))
    return { op: 'DecodeLinear', formats: {}, names: weights.map((weight) => panelsOf(e, weight)) };
  const formats = weights.map((weight, index) => [`format${index}`, { int: e.storedOf(weight)!.format }] as const);
  return {
    op,
    formats: Object.fromEntries(formats),
    names: weights.map((weight) => e.blocksOf(weight)),
  };
}

function bindAll(e: Emitter, values: readonly Value[], names: readonly Name[]): void {
  values.forEach((value, index) => void e.bind(value, names[index]));
}

function emitPlain(e: Emitter, group: Group): void {
  const { layers, results, residual } = group;
  const [x] = layers[0].inputs;
  const norm = normBefore(e, x);
  const { op, formats, names } = weightsOf(e, layers);
  const inputs = [
    flatName(e, norm?.x ?? x),
    optional(e, norm?.gain),
    optional(e, residual),
    ...four(
      e,
      layers.map(({ inputs: [, , bias] }) => bias),
    ),
    ...names,
  ];
  const outputs = results.map(typeOf);
  bindAll(e, results, e.native(op, inputs, { ...attributesOf(e, group, norm), ...formats }, outputs));
}

/** `wanted`: results count where its values [rows, V] are at least `limit`. */
interface Moving {
  readonly moves: readonly Move[];
  readonly movedResults: readonly Value[];
  readonly movedResidual?: Value;
  readonly wanted?: Wanted | undefined;
}

export interface Wanted {
  readonly values: Value;
  readonly limit: number;
}

/** The same with the tangents; `movedResults` goes with `results`. */
function emitMoving(e: Emitter, group: Group, moving: Moving): void {
  const all = group.results.flatMap((value, index) => [value, moving.movedResults[index]]);
  bindAll(e, all, emitMoves(e, group, moving));
}

/** Names of results and their tangents in turn; of a group without results, of the tangents. */
function emitMoves(e: Emitter, group: Group, { moves, movedResults, movedResidual, wanted }: Moving): Name[] {
  const { layers, results, residual } = group;
  const [x] = layers[0].inputs;
  const { tx } = moves[0];
  const before = normBefore(e, x);
  const moved = before && movedNorm(e, before, tx);
  const norm = moved && before;
  const isAlone = results.length === 0;
  const inputs = [
    flatName(e, norm?.x ?? x),
    optional(e, norm?.gain),
    optional(e, residual),
    ...four(
      e,
      layers.map(({ inputs: [, , bias] }) => bias),
    ),
    flatName(e, moved?.x ?? tx),
    optional(e, moved?.gain),
    optional(e, movedResidual),
    ...four(
      e,
      moves.map(({ tBias }) => tBias),
    ),
    optional(e, wanted?.values),
    ...layers.flatMap(({ inputs: [, weight] }, index) => [
      (isAlone ? bytesOf : panelsOf)(e, weight),
      e.packedOf([moves[index].tWeight], 'direction'),
    ]),
  ];
  const outputs = isAlone ? movedResults : results.flatMap((value, index) => [value, movedResults[index]]);
  const attributes = {
    ...attributesOf(e, group, norm),
    ...(isAlone && { tangent: { int: 1 } }),
    ...(wanted && { limit: { float: wanted.limit } }),
  };
  return e.native('DecodeLinearTangent', inputs, attributes, outputs.map(typeOf));
}

/** The tangent of a layer that is not asked for itself, by name, where it counts: elsewhere its numbers are undefined. */
export function emitLoneMove(e: Emitter, ty: Value, wanted?: Wanted): Name | undefined {
  if (!hasMoves(e)) return undefined;
  const found = loneMoveOf(e, ty);
  if (found === undefined) return undefined;
  const { layer, move } = found;
  return emitMoves(e, { layers: [layer], results: [] }, { moves: [move], movedResults: [ty], wanted })[0];
}

export function lowerDecodeLinear(e: Emitter, node: Node<'linear'>): boolean {
  if (!isLayer(e, node)) return false;
  const [x] = node.inputs;
  const isBeside = (other: Node) =>
    other !== node && isLayer(e, other) && other.inputs[0] === x && !e.hasFloat(other.outputs[0]);
  const isMoving = movesOf(e, [node]) !== undefined;
  const beside = e.view
    .consumersOf(x)
    .filter(
      (other) =>
        isBeside(other) &&
        (movesOf(e, [other]) !== undefined) === isMoving &&
        (isMoving || isStored(e, other) === isStored(e, node)),
    );
  const layers = [node, ...beside.slice(0, MAX_PARTS - 1)];
  const group = { layers, results: layers.map(({ outputs }) => outputs[0]) };
  const moves = movesOf(e, layers);
  if (moves === undefined) emitPlain(e, isMoving ? { layers: [node], results: [node.outputs[0]] } : group);
  else emitMoving(e, group, { moves, movedResults: moves.map(({ ty }) => ty) });
  return true;
}

/** Whether the sum is the tangent of a layer, which is then made with the layer. */
function madeWithLayer(e: Emitter, node: Node<'add'>): boolean {
  const [sum] = node.outputs;
  const terms = node.inputs.map((value) => e.view.producerOf(value)).filter((term) => isOnInput(e, term));
  const layers = terms.flatMap(({ inputs: [x] }) => e.view.consumersOf(x)).filter((layer) => isOnInput(e, layer));
  const layer = layers.find((candidate) => movesOf(e, [candidate])?.[0].ty === sum);
  if (layer === undefined) return false;
  e.nameOf(layer.outputs[0]);
  return e.hasFloat(sum);
}

/** A linear layer's result plus another value of its shape. */
export function lowerDecodeSum(e: Emitter, node: Node<'add'>): boolean {
  if (madeWithLayer(e, node)) return true;
  const [sum] = node.outputs;
  const alone = emitLoneMove(e, sum);
  if (alone !== undefined) {
    e.bind(sum, alone);
    return true;
  }
  if (node.inputs.some(({ shape }) => shape.join() !== sum.shape.join())) return false;
  for (const [value, residual] of [node.inputs, [node.inputs[1], node.inputs[0]]]) {
    const layer = e.view.producerOf(value);
    const isOwn = isLayer(e, layer) && e.view.isReadOnce(value) && !e.hasFloat(value) && value !== residual;
    if (!isOwn) continue;
    const group = { layers: [layer], results: [sum], residual };
    const move = movesOf(e, [layer])?.[0];
    const moved = move && soleSum(e, move.ty);
    if (move !== undefined && moved === undefined) continue;
    if (move === undefined) emitPlain(e, group);
    else emitMoving(e, group, { moves: [move], movedResults: [moved!.sum], movedResidual: moved!.other });
    return true;
  }
  return false;
}

/** silu(gate)·up of two layers of one input. */
export function lowerDecodeGated(e: Emitter, node: Node<'swiglu'>): boolean {
  const [gate, up] = node.inputs;
  const layers = [gate, up].map((value) => e.view.producerOf(value));
  const isPair = layers.every((layer) => isLayer(e, layer)) && layers[0]!.inputs[0] === layers[1]!.inputs[0];
  if (!isPair || e.hasFloat(gate) || e.hasFloat(up)) return false;
  const group = { layers: layers as Node[], results: node.outputs, isGated: true };
  const readers = [...new Set([gate, up].flatMap((value) => e.view.consumersOf(value)))];
  const tangent = readers.find(({ kind }) => kind === 'swigluTangent');
  const moves = movesOf(e, group.layers);
  const isMoving = tangent !== undefined && moves?.every(({ ty }, index) => ty === tangent.inputs[2 + index]);
  if (readers.length !== (isMoving ? 2 : 1) || e.view.isOutput(gate) || e.view.isOutput(up)) return false;
  if (isMoving) emitMoving(e, group, { moves: moves!, movedResults: tangent.outputs });
  else emitPlain(e, group);
  return true;
}
