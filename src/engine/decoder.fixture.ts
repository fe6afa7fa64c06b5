/** A small decoder written with the ops of the engine alone: loss and gradients of every parameter. */
import { gradients } from './autodiff/reverse.js';
import { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
import {
  add,
  attention,
  gatherRows,
  headLoss,
  linear,
  multiply,
  reshape,
  rmsNorm,
  rotary,
  scalar,
  swiglu,
} from './graph/ops.js';
import type { Graph, Shape, Value } from './graph/types.js';
import { type Array64, array64 } from './reference.fixture.js';

export interface DecoderShape {
  readonly batch: number;
  readonly time: number;
  readonly width: number;
  readonly heads: number;
  readonly groups: number;
  readonly headSize: number;
  readonly hidden: number;
  readonly vocabulary: number;
  readonly layers: number;
  readonly isTied: boolean;
  readonly hasBias: boolean;
  /** Norms of query and key heads. */
  readonly hasHeadNorm: boolean;
  /** Low-rank adapters of these layers (q, k, v, o, gate, up, down); only they get gradients if the rest is frozen. */
  readonly adapters?: {
    readonly rank: number;
    readonly on: readonly string[];
    readonly isRestFrozen: boolean;
    readonly scale?: number;
  };
}

const wave = (shape: Shape, seed: number, scale: number): Array64 => {
  let state = seed * 7919 + 1;
  return array64(shape, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround((state / 2 ** 31 - 1) * scale);
  });
};

export function decoderGraph(shape: DecoderShape): { graph: Graph; given: Record<string, Array64> } {
  const { batch, time, width, heads, groups, headSize, hidden, vocabulary, adapters } = shape;
  const g: GraphBuilder = createGraphBuilder();
  const given: Record<string, Array64> = {};
  const parameters: Value[] = [];
  const names: string[] = [];
  const tokens = batch * time;
  const parameter = (name: string, extents: Shape, scale = 1 / Math.sqrt(extents[extents.length - 1])): Value => {
    const value = g.input(name, 'float32', extents);
    given[name] = wave(extents, names.length + 1, scale);
    if (extents.length === 1 && name.includes('norm')) given[name] = array64(extents, (i) => 1 + 0.1 * Math.sin(i));
    parameters.push(value);
    names.push(name);
    return value;
  };
  const data = (name: string, dtype: 'int64' | 'float32', value: Array64): Value => {
    given[name] = value;
    return g.input(name, dtype, value.shape);
  };
  const half = headSize / 2;
  const angle = (i: number) => Math.floor(i / half) / 100 ** ((i % half) / half);
  const tables = {
    positions: data(
      'positions',
      'int64',
      array64([batch, time], (i) => (i % time) + 2),
    ),
    cos: data(
      'cos',
      'float32',
      array64([time + 2, half], (i) => Math.cos(angle(i))),
    ),
    sin: data(
      'sin',
      'float32',
      array64([time + 2, half], (i) => Math.sin(angle(i))),
    ),
  };
  const layer = (x: Value, name: string, out: number) => {
    const weight = parameter(name, [out, x.shape[1]]);
    const y = linear(g, x, weight, shape.hasBias ? parameter(`${name}.bias`, [out], 0.1) : undefined);
    if (adapters === undefined || !adapters.on.includes(name.split('.')[0])) return y;
    const { rank, scale = 0.75 } = adapters;
    const narrow = linear(g, x, parameter(`${name}.A`, [rank, x.shape[1]]));
    return add(g, y, multiply(g, linear(g, narrow, parameter(`${name}.B`, [out, rank])), scalar(g, scale)));
  };
  const embedding = parameter('embedding', [vocabulary, width], 1);
  let x = gatherRows(
    g,
    embedding,
    data(
      'tokens',
      'int64',
      array64([tokens], (i) => (i * 31 + 7) % vocabulary),
    ),
  );
  for (let l = 0; l < shape.layers; l++) {
    const h = rmsNorm(g, x, parameter(`norm1.${l}`, [width]), 1e-5);
    const split = (value: Value, n: number, norm: string) => {
      const flat = shape.hasHeadNorm
        ? rmsNorm(g, reshape(g, value, [tokens * n, headSize]), parameter(`norm.${norm}.${l}`, [headSize]), 1e-5)
        : value;
      return reshape(g, flat, [batch, time, n, headSize]);
    };
    const q = rotary(g, split(layer(h, `q.${l}`, heads * headSize), heads, 'q'), tables);
    const k = rotary(g, split(layer(h, `k.${l}`, groups * headSize), groups, 'k'), tables);
    const v = reshape(g, layer(h, `v.${l}`, groups * headSize), [batch, time, groups, headSize]);
    const o = reshape(g, attention(g, q, k, v, 1 / Math.sqrt(headSize)), [tokens, heads * headSize]);
    x = add(g, x, layer(o, `o.${l}`, width));
    const m = rmsNorm(g, x, parameter(`norm2.${l}`, [width]), 1e-5);
    x = add(g, x, layer(swiglu(g, layer(m, `gate.${l}`, hidden), layer(m, `up.${l}`, hidden)), `down.${l}`, width));
  }
  const final = rmsNorm(g, x, parameter('norm', [width]), 1e-5);
  const head = shape.isTied ? embedding : parameter('head', [vocabulary, width]);
  const { loss, nll } = headLoss(g, final, head, {
    targets: data(
      'targets',
      'int64',
      array64([tokens], (i) => (i * 17 + 3) % vocabulary),
    ),
    weights: data(
      'weights',
      'float32',
      array64([tokens], (i) => (i % 4 === 0 ? 0 : Math.fround(1 / tokens))),
    ),
  });
  g.output('loss', loss);
  g.output('nll', nll);
  const trained = names.flatMap((name, index) =>
    adapters?.isRestFrozen && !/\.[AB]$/.test(name) ? [] : { name, value: parameters[index] },
  );
  const wrt = trained.map(({ value }) => value);
  gradients(g, loss, wrt).forEach((value, index) => {
    g.output(`d.${trained[index].name}`, value);
  });
  return { graph: g.finish(), given };
}
