/**
 * The independent truth of the engine's tests: every op in float64, by the definition in the catalogue, in plain loops that
 * share nothing with the lowerings. Derivative ops are written from the definition too (sums over the full Jacobian).
 */
import type { OpKind, OpParams } from './graph/catalogue.js';
import { broadcastShapes, sizeOf } from './graph/shape-rules.js';
import type { Graph, Shape, Value } from './graph/types.js';

export interface Array64 {
  readonly shape: Shape;
  readonly data: Float64Array;
}

type Reference<K extends OpKind> = (inputs: readonly Array64[], params: OpParams[K]) => readonly Array64[];

export function array64(shape: Shape, at: (index: number) => number): Array64 {
  return { shape, data: Float64Array.from({ length: sizeOf(shape) }, (_, index) => at(index)) };
}

function coordinates(shape: Shape, index: number): number[] {
  const result = new Array<number>(shape.length);
  let rest = index;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = rest % shape[axis];
    rest = Math.floor(rest / shape[axis]);
  }
  return result;
}

function at(x: Array64, where: readonly number[]): number {
  return x.data[where.reduce((index, position, axis) => index * x.shape[axis] + position, 0)];
}

function broadcastAt(x: Array64, where: readonly number[]): number {
  const lead = where.length - x.shape.length;
  return at(
    x,
    x.shape.map((extent, axis) => (extent === 1 ? 0 : where[axis + lead])),
  );
}

const build = (shape: Shape, f: (where: number[]) => number): Array64 =>
  array64(shape, (index) => f(coordinates(shape, index)));

function elementwise(f: (...values: number[]) => number) {
  return (inputs: readonly Array64[]): Array64[] => {
    const shape = inputs.map((x) => x.shape).reduce(broadcastShapes);
    return [build(shape, (where) => f(...inputs.map((x) => broadcastAt(x, where))))];
  };
}

function reduction(start: number, f: (a: number, b: number) => number) {
  return ([x]: readonly Array64[], { axes, keepDims }: OpParams['reduceSum']): Array64[] => {
    const kept = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    const result = array64(kept, () => start);
    for (let index = 0; index < x.data.length; index++) {
      const target = coordinates(x.shape, index).map((position, axis) => (axes.includes(axis) ? 0 : position));
      const flat = target.reduce((sum, position, axis) => sum * kept[axis] + position, 0);
      result.data[flat] = f(result.data[flat], x.data[index]);
    }
    return [{ shape: keepDims ? kept : x.shape.filter((_, axis) => !axes.includes(axis)), data: result.data }];
  };
}

/** Applies f to each slice along the last axis. */
function alongLast(x: Array64, f: (row: number[]) => number[]): Array64 {
  const width = x.shape[x.shape.length - 1];
  const rows = Array.from({ length: x.data.length / width }, (_, row) => [
    ...x.data.slice(row * width, (row + 1) * width),
  ]);
  return { shape: x.shape, data: Float64Array.from(rows.flatMap(f)) };
}

function softmaxRow(row: readonly number[]): number[] {
  const top = Math.max(...row);
  const e = row.map((value) => Math.exp(value - top));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((value) => value / total);
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, index) => sum + value * b[index], 0);

function rows(x: Array64): number[][] {
  const width = x.shape[x.shape.length - 1];
  return Array.from({ length: x.data.length / width }, (_, row) => [...x.data.slice(row * width, (row + 1) * width)]);
}

function product(a: number[][], b: number[][]): number[][] {
  return a.map((row) => b[0].map((_, column) => row.reduce((sum, value, k) => sum + value * b[k][column], 0)));
}

const transposed = (a: number[][]): number[][] => a[0].map((_, column) => a.map((row) => row[column]));
const flat = (shape: Shape, a: number[][]): Array64 => ({ shape, data: Float64Array.from(a.flat()) });

/** One query against one head's keys: weights over positions 0…last. */
function attend(
  q: Array64,
  k: Array64,
  place: { b: number; t: number; h: number; last: number; scale: number },
): number[] {
  const { b, t, h, last, scale } = place;
  const group = Math.floor((h * k.shape[2]) / q.shape[2]);
  return softmaxRow(
    Array.from({ length: last + 1 }, (_, s) => {
      let score = 0;
      for (let d = 0; d < q.shape[3]; d++) score += at(q, [b, t, h, d]) * at(k, [b, s, group, d]);
      return score * scale;
    }),
  );
}

const attention: Reference<'attention'> = ([q, k, v], { scale }) => {
  const group = (h: number) => Math.floor((h * k.shape[2]) / q.shape[2]);
  return [
    build(q.shape, ([b, t, h, d]) => {
      const p = attend(q, k, { b, t, h, last: t, scale });
      return p.reduce((sum, weight, s) => sum + weight * at(v, [b, s, group(h), d]), 0);
    }),
  ];
};

/** Through the Jacobian of the softmax, entry by entry. */
const attentionBackward: Reference<'attentionBackward'> = ([q, k, v, , dO], { scale }) => {
  const [dq, dk, dv] = [q, k, v].map((x) => array64(x.shape, () => 0));
  const [batch, time, heads, size] = q.shape;
  const index = (x: Array64, where: number[]) =>
    where.reduce((sum, position, axis) => sum * x.shape[axis] + position, 0);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const group = Math.floor((h * k.shape[2]) / heads);
      for (let t = 0; t < time; t++) {
        const p = attend(q, k, { b, t, h, last: t, scale });
        const dP = p.map((_, s) => {
          let sum = 0;
          for (let d = 0; d < size; d++) sum += at(dO, [b, t, h, d]) * at(v, [b, s, group, d]);
          return sum;
        });
        for (let s = 0; s <= t; s++) {
          const dS = p.reduce((sum, weight, j) => sum + dP[j] * weight * ((j === s ? 1 : 0) - p[s]), 0) * scale;
          for (let d = 0; d < size; d++) {
            dq.data[index(q, [b, t, h, d])] += dS * at(k, [b, s, group, d]);
            dk.data[index(k, [b, s, group, d])] += dS * at(q, [b, t, h, d]);
            dv.data[index(v, [b, s, group, d])] += p[s] * at(dO, [b, t, h, d]);
          }
        }
      }
    }
  }
  return [dq, dk, dv];
};

const attentionTangent: Reference<'attentionTangent'> = ([q, k, v, , tq, tk, tv], { scale }) => {
  const group = (h: number) => Math.floor((h * k.shape[2]) / q.shape[2]);
  return [
    build(q.shape, ([b, t, h, d]) => {
      const p = attend(q, k, { b, t, h, last: t, scale });
      const tS = p.map((_, s) => {
        let sum = 0;
        for (let i = 0; i < q.shape[3]; i++) {
          sum += at(tq, [b, t, h, i]) * at(k, [b, s, group(h), i]) + at(q, [b, t, h, i]) * at(tk, [b, s, group(h), i]);
        }
        return sum * scale;
      });
      let result = 0;
      for (let s = 0; s <= t; s++) {
        const tP = p.reduce((sum, weight, j) => sum + tS[j] * weight * ((j === s ? 1 : 0) - p[s]), 0);
        result += tP * at(v, [b, s, group(h), d]) + p[s] * at(tv, [b, s, group(h), d]);
      }
      return result;
    }),
  ];
};

const cachedAttention: Reference<'cachedAttention'> = ([q, k, v, cacheK, cacheV, lengths], { scale, firstChunk }) => {
  const time = q.shape[1];
  const start = (b: number) => (firstChunk ? 0 : lengths.data[b] - time);
  const written = (cache: Array64, fresh: Array64) =>
    build(cache.shape, ([b, g, s, d]) => {
      const t = s - start(b);
      return t >= 0 && t < time ? at(fresh, [b, t, g, d]) : at(cache, [b, g, s, d]);
    });
  const newK = written(cacheK, k);
  const newV = written(cacheV, v);
  const slots = cacheK.shape[2];
  const asRows = (cache: Array64) =>
    build([cache.shape[0], slots, cache.shape[1], q.shape[3]], ([b, s, g, d]) => at(cache, [b, g, s, d]));
  const [keys, values] = [asRows(newK), asRows(newV)];
  const group = (h: number) => Math.floor((h * k.shape[2]) / q.shape[2]);
  const o = build(q.shape, ([b, t, h, d]) => {
    const p = attend(q, keys, { b, t, h, last: start(b) + t, scale });
    return p.reduce((sum, weight, s) => sum + weight * at(values, [b, s, group(h), d]), 0);
  });
  return [o, newK, newV];
};

/** By the product rule over the softmax's Jacobian, entry by entry. */
const cachedAttentionTangent: Reference<'cachedAttentionTangent'> = (inputs, { scale, firstChunk }) => {
  const [q, keys, values, lengths, tq, tk, tv, tCacheK, tCacheV] = inputs;
  const [, time, heads, size] = q.shape;
  const start = (b: number) => (firstChunk ? 0 : lengths.data[b] - time);
  const written = (cache: Array64, fresh: Array64) =>
    build(cache.shape, ([b, g, s, d]) => {
      const t = s - start(b);
      return t >= 0 && t < time ? at(fresh, [b, t, g, d]) : at(cache, [b, g, s, d]);
    });
  const tKeys = written(tCacheK, tk);
  const tValues = written(tCacheV, tv);
  const to = build(q.shape, ([b, t, h, d]) => {
    const g = Math.floor((h * keys.shape[1]) / heads);
    const last = start(b) + t;
    const score = (x: Array64, cache: Array64, s: number) =>
      Array.from({ length: size }, (_, i) => at(x, [b, t, h, i]) * at(cache, [b, g, s, i])).reduce(
        (x1, y) => x1 + y,
        0,
      );
    const slots = Array.from({ length: last + 1 }, (_, s) => s);
    const p = softmaxRow(slots.map((s) => score(q, keys, s) * scale));
    const tS = slots.map((s) => (score(tq, keys, s) + score(q, tKeys, s)) * scale);
    return slots.reduce((result, s) => {
      const tP = p.reduce((total, weight, j) => total + tS[j] * weight * ((j === s ? 1 : 0) - p[s]), 0);
      return result + tP * at(values, [b, g, s, d]) + p[s] * at(tValues, [b, g, s, d]);
    }, 0);
  });
  return [to, tKeys, tValues];
};

/** [N, V] logits, probabilities and nll of a head. */
function head([x, w, targets]: readonly Array64[]) {
  const logits = product(rows(x), transposed(rows(w)));
  const p = logits.map(softmaxRow);
  const nll = p.map((row, n) => -Math.log(row[targets.data[n]]));
  return { p, nll };
}

const identity = (x: Array64): Array64[] => [x];

export const reference: { readonly [K in OpKind]: Reference<K> } = {
  add: elementwise((a, b) => a + b),
  subtract: elementwise((a, b) => a - b),
  multiply: elementwise((a, b) => a * b),
  divide: elementwise((a, b) => a / b),
  minimum: elementwise((a, b) => Math.min(a, b)),
  maximum: elementwise((a, b) => Math.max(a, b)),
  lessOrEqual: elementwise((a, b) => (a <= b ? 1 : 0)),
  select: elementwise((condition, a, b) => (condition !== 0 ? a : b)),
  negate: elementwise((x) => -x),
  exponential: elementwise(Math.exp),
  logarithm: elementwise(Math.log),
  squareRoot: elementwise(Math.sqrt),
  sigmoid: elementwise(sigmoid),
  cast: ([x], { dtype }) => [
    array64(x.shape, (index) => (dtype === 'float32' ? x.data[index] : Math.trunc(x.data[index]))),
  ],

  fill: (_, { shape, value }) => [array64(shape, () => value)],
  reshape: ([x], { shape }) => [{ shape, data: x.data }],
  transpose: ([x], { permutation }) => [
    build(
      permutation.map((axis) => x.shape[axis]),
      (where) =>
        at(
          x,
          permutation.map((_, axis) => where[permutation.indexOf(axis)]),
        ),
    ),
  ],
  concat: (inputs, { axis }) => {
    const total = inputs.reduce((sum, x) => sum + x.shape[axis], 0);
    return [
      build(
        inputs[0].shape.map((extent, index) => (index === axis ? total : extent)),
        (where) => {
          let position = where[axis];
          let part = 0;
          while (position >= inputs[part].shape[axis]) position -= inputs[part++].shape[axis];
          return at(
            inputs[part],
            where.map((value, index) => (index === axis ? position : value)),
          );
        },
      ),
    ];
  },
  slice: ([x], { axis, start, end }) => [
    build(
      x.shape.map((extent, index) => (index === axis ? end - start : extent)),
      (where) =>
        at(
          x,
          where.map((value, index) => (index === axis ? value + start : value)),
        ),
    ),
  ],
  broadcast: ([x], { shape }) => [build(shape, (where) => broadcastAt(x, where))],
  after: ([x]) => identity(x),
  detach: ([x]) => identity(x),

  reduceSum: reduction(0, (a, b) => a + b),
  reduceMax: reduction(Number.NEGATIVE_INFINITY, Math.max),
  matmul: ([a, b], { transposeA, transposeB, alpha }) => {
    const [ra, rb] = [a.shape.length, b.shape.length];
    const m = a.shape[transposeA ? ra - 1 : ra - 2];
    const k = a.shape[transposeA ? ra - 2 : ra - 1];
    const n = b.shape[transposeB ? rb - 2 : rb - 1];
    const lead = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [
      build([...lead, m, n], (where) => {
        const [i, j] = where.slice(-2);
        const before = where.slice(0, -2);
        let sum = 0;
        for (let l = 0; l < k; l++) {
          sum +=
            broadcastAt(a, [...before, ...(transposeA ? [l, i] : [i, l])]) *
            broadcastAt(b, [...before, ...(transposeB ? [j, l] : [l, j])]);
        }
        return alpha * sum;
      }),
    ];
  },
  softmax: ([x]) => [alongLast(x, softmaxRow)],
  logSoftmax: ([x]) => [alongLast(x, (row) => softmaxRow(row).map(Math.log))],
  cumulativeSum: ([x]) => [
    alongLast(x, (row) => row.map((_, index) => row.slice(0, index + 1).reduce((a, b) => a + b, 0))),
  ],

  gatherRows: ([table, ids]) => [build([ids.shape[0], table.shape[1]], ([n, c]) => at(table, [ids.data[n], c]))],
  scatterAddRows: ([base, ids, updates]) => [
    build(base.shape, ([r, c]) =>
      ids.data.reduce((sum, id, n) => sum + (id === r ? at(updates, [n, c]) : 0), at(base, [r, c])),
    ),
  ],
  gatherElements: ([x, ids]) => [build(ids.shape, ([n, m]) => at(x, [n, at(ids, [n, m])]))],
  scatterElements: ([x, ids, values]) => [
    build(x.shape, ([n, v]) => {
      for (let m = 0; m < ids.shape[1]; m++) if (at(ids, [n, m]) === v) return at(values, [n, m]);
      return at(x, [n, v]);
    }),
  ],
  topK: ([x], { k }) => {
    const order = rows(x).map((row) =>
      row.map((value, id) => ({ value, id })).sort((a, b) => b.value - a.value || a.id - b.id),
    );
    const shape = [x.shape[0], k];
    return [build(shape, ([n, i]) => order[n][i].value), build(shape, ([n, i]) => order[n][i].id)];
  },
  argMax: ([x]) => [array64([x.shape[0]], (n) => rows(x)[n].indexOf(Math.max(...rows(x)[n])))],

  linear: ([x, w, bias]) => [
    build([x.shape[0], w.shape[0]], ([n, o]) => dot(rows(x)[n], rows(w)[o]) + (bias === undefined ? 0 : bias.data[o])),
  ],
  linearInputGradient: ([dy, w]) => [flat([dy.shape[0], w.shape[1]], product(rows(dy), rows(w)))],
  linearWeightGradient: ([dy, x]) => [flat([dy.shape[1], x.shape[1]], product(transposed(rows(dy)), rows(x)))],

  rmsNorm: ([x, gain], { epsilon }) => {
    const r = rows(x).map((row) => 1 / Math.sqrt(dot(row, row) / row.length + epsilon));
    return [build(x.shape, ([n, c]) => at(x, [n, c]) * r[n] * gain.data[c]), array64([x.shape[0], 1], (n) => r[n])];
  },
  rmsNormBackward: ([x, gain, r, dy]) => {
    const width = x.shape[1];
    const dx = build(x.shape, ([n, c]) => {
      let sum = 0;
      for (let j = 0; j < width; j++) {
        const slope = (j === c ? r.data[n] : 0) - (r.data[n] ** 3 * at(x, [n, j]) * at(x, [n, c])) / width;
        sum += at(dy, [n, j]) * gain.data[j] * slope;
      }
      return sum;
    });
    const dGain = array64([width], (c) =>
      rows(x).reduce((sum, row, n) => sum + row[c] * r.data[n] * at(dy, [n, c]), 0),
    );
    return [dx, dGain];
  },
  rmsNormTangent: ([x, gain, r, tx, tGain]) => {
    const width = x.shape[1];
    return [
      build(x.shape, ([n, c]) => {
        const tr = -(r.data[n] ** 3 * dot(rows(x)[n], rows(tx)[n])) / width;
        return (
          (at(tx, [n, c]) * r.data[n] + at(x, [n, c]) * tr) * gain.data[c] + at(x, [n, c]) * r.data[n] * tGain.data[c]
        );
      }),
    ];
  },
  swiglu: elementwise((gate, up) => gate * sigmoid(gate) * up),
  swigluBackward: (inputs) => [
    ...elementwise((gate, up, dy) => dy * up * sigmoid(gate) * (1 + gate * (1 - sigmoid(gate))))(inputs),
    ...elementwise((gate, _, dy) => dy * gate * sigmoid(gate))(inputs),
  ],
  swigluTangent: elementwise(
    (gate, up, tGate, tUp) =>
      tGate * up * sigmoid(gate) * (1 + gate * (1 - sigmoid(gate))) + tUp * gate * sigmoid(gate),
  ),
  rotary: ([x, positions, cos, sin], { inverse }) => {
    const half = x.shape[3] / 2;
    return [
      build(x.shape, ([b, t, h, d]) => {
        const position = at(positions, [b, t]);
        const pair = d % half;
        const c = at(cos, [position, pair]);
        const s = (inverse ? -1 : 1) * at(sin, [position, pair]);
        const [first, second] = [at(x, [b, t, h, pair]), at(x, [b, t, h, pair + half])];
        return d < half ? first * c - second * s : second * c + first * s;
      }),
    ];
  },
  attention,
  attentionBackward,
  attentionTangent,
  cachedAttention,
  cachedAttentionTangent,
  headLoss: (inputs) => {
    const { nll } = head(inputs);
    return [array64([], () => dot(nll, [...inputs[3].data])), array64([nll.length], (n) => nll[n])];
  },
  headLossBackward: (inputs) => {
    const [x, w, targets, weights] = inputs;
    const { p } = head(inputs);
    const dLogits = p.map((row, n) =>
      row.map((value, v) => (value - (v === targets.data[n] ? 1 : 0)) * weights.data[n]),
    );
    return [flat(x.shape, product(dLogits, rows(w))), flat(w.shape, product(transposed(dLogits), rows(x)))];
  },
  adamw: ([learningRate, c1, c2, maxNorm, ...tensors], { beta1, beta2, epsilon, decays }) => {
    const n = decays.length;
    const part = (index: number) => tensors.slice(index * n, (index + 1) * n);
    const [ps, gs, ms, vs] = [0, 1, 2, 3].map(part);
    const norm = Math.sqrt(gs.reduce((sum, g) => sum + g.data.reduce((s, value) => s + value * value, 0), 0));
    const clip = Math.min(1, maxNorm.data[0] / (norm + 1e-6));
    const lr = learningRate.data[0];
    const newM = ms.map((m, i) => array64(m.shape, (j) => beta1 * m.data[j] + (1 - beta1) * gs[i].data[j] * clip));
    const newV = vs.map((v, i) =>
      array64(v.shape, (j) => beta2 * v.data[j] + (1 - beta2) * (gs[i].data[j] * clip) ** 2),
    );
    const newP = ps.map((p, i) =>
      array64(p.shape, (j) => {
        const denominator = Math.sqrt(newV[i].data[j]) / Math.sqrt(c2.data[0]) + epsilon;
        return p.data[j] * (1 - lr * decays[i]) - ((lr / c1.data[0]) * newM[i].data[j]) / denominator;
      }),
    );
    return [array64([], () => norm), ...newP, ...newM, ...newV];
  },
};

/** Every output of a graph in float64. */
export function evaluate(graph: Graph, inputs: Readonly<Record<string, Array64>>): Record<string, Array64> {
  const values = new Map<Value, Array64>();
  for (const { name, value } of graph.inputs) values.set(value, inputs[name]);
  for (const { value, data } of graph.constants) {
    values.set(value, { shape: value.shape, data: Float64Array.from(data as ArrayLike<number | bigint>, Number) });
  }
  for (const node of graph.nodes) {
    const compute = reference[node.kind] as Reference<typeof node.kind>;
    const results = compute(
      node.inputs.map((value) => values.get(value)!),
      node.params as never,
    );
    node.outputs.forEach((value, index) => {
      values.set(value, results[index]);
    });
  }
  return Object.fromEntries(graph.outputs.map(({ name, value }) => [name, values.get(value)!]));
}
