/** From hidden states to a number for each token of the vocabulary: logits, or how log-probabilities move. */
import { directionalDerivatives } from '../../engine/autodiff/forward.js';
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { gatherElements, linear, logSoftmax, multiply, reshape, subtract, topK } from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import type { Tensor } from '../../engine/runtime/types.js';
import { headParameterName } from '../../model/parameters.js';
import { invariant } from '../../support/errors.js';
import type { BoundTrunk, TrunkSource } from './trunk.js';
import { withZeros } from './with-zeros.js';

/**
 * What is read from hidden states h [n, C] and a head E [V, C], with f(h, E) = log softmax(h·Eᵀ):
 * logits: h·Eᵀ of one source. derivative: d/dt f along the source's direction. difference: slope · (f of the first − f of the second).
 * The numbers of `zeroIds` are 0.
 */
export type Readout = { readonly zeroIds?: readonly number[] | undefined } & (
  | { readonly kind: 'logits'; readonly sources: readonly [TrunkSource] }
  | { readonly kind: 'derivative'; readonly sources: readonly [TrunkSource] }
  | { readonly kind: 'difference'; readonly sources: readonly [TrunkSource, TrunkSource]; readonly slope: number }
);

/** What one position asks for. */
export interface ReadoutRequest {
  /** Row of the trunks' hidden states. */
  readonly position: number;
  /** The token whose number is wanted. */
  readonly target: number;
}

export interface BoundReadout {
  /** Most requests of a run. */
  readonly capacity: number;
  run(trunks: readonly BoundTrunk[], requests: readonly ReadoutRequest[]): Promise<void>;
  /** Of request i in the last run: the number of its target, its k largest, its number for every id (a copy). */
  valueOf(index: number): number;
  topOf(index: number): (readonly [id: number, value: number])[];
  vectorOf(index: number): Float32Array;
  dispose(): void;
}

/** Inputs hidden.0 [n, C], head.0 [V, C] (and .1, or tangents .t, or slope []), targets [n] int64. Gives [n, V]. */
function buildReadout(g: GraphBuilder, kind: Readout['kind'], shape: { n: number; width: number; vocabSize: number }) {
  const { n, width, vocabSize } = shape;
  const source = (suffix: string) => ({
    hidden: g.input(`hidden.${suffix}`, 'float32', [n, width]),
    head: g.input(`head.${suffix}`, 'float32', [vocabSize, width]),
  });
  const logprobs = ({ hidden, head }: { hidden: Value; head: Value }) => logSoftmax(g, linear(g, hidden, head));
  const main = source('0');
  if (kind === 'logits') return linear(g, main.hidden, main.head);
  const value = logprobs(main);
  if (kind === 'difference') {
    return multiply(g, subtract(g, value, logprobs(source('1'))), g.input('slope', 'float32', []));
  }
  const moving = source('t');
  const seeds = new Map([
    [main.hidden, moving.hidden],
    [main.head, moving.head],
  ]);
  return directionalDerivatives(g, [value], seeds)[0];
}

/** Binds a readout for up to `capacity` positions. `output`: numbers of targets with the k largest, or whole vectors. */
export function bindReadout(
  readout: Readout,
  { capacity, output }: { capacity: number; output: { readonly topK: number } | 'vectors' },
): BoundReadout {
  const { sources, kind, zeroIds = [] } = readout;
  const { compiler, config } = sources[0].model;
  const { runtime } = compiler;
  const { vocabSize, hiddenSize: width } = config;
  const n = capacity;
  const k = output === 'vectors' ? 0 : output.topK;
  const owned = new Map<string, Tensor>();
  const own = <T extends Tensor>(name: string, tensor: T): T => {
    owned.set(name, tensor);
    return tensor;
  };
  const headName = headParameterName(config);
  const hiddens = sources.map((_, index) => own(`hidden.${index}`, runtime.tensor('float32', [n, width])));
  const heads = Object.fromEntries(
    sources.map(({ model }, index) => [`head.${index}`, model.parameters.get(headName)!]),
  );
  const moving = kind === 'derivative' ? own('hidden.t', runtime.tensor('float32', [n, width])) : undefined;
  if (kind === 'derivative') heads['head.t'] = sources[0].direction!.get(headName)!;
  if (kind === 'difference') own('slope', runtime.tensor('float32', [], [readout.slope]));
  const isVectors = output === 'vectors';
  const vectors = isVectors ? own('vectors', runtime.tensor('float32', [n, vocabSize])) : undefined;
  const targets = isVectors ? undefined : own('targets', runtime.tensor('int64', [n]));
  const values = isVectors ? undefined : own('values', runtime.tensor('float32', [n, 1]));
  const topIds = k === 0 ? undefined : own('topIds', runtime.tensor('int64', [n, k]));
  const topValues = k === 0 ? undefined : own('topValues', runtime.tensor('float32', [n, k]));
  const binding = compiler.bind(
    `readout/${kind}/${n}x${width}/${vocabSize}/${isVectors ? 'vectors' : k}/${zeroIds.join(',')}`,
    (g) => {
      const result = withZeros(g, buildReadout(g, kind, { n, width, vocabSize }), zeroIds);
      if (isVectors) return g.output('vectors', result);
      g.output('values', gatherElements(g, result, reshape(g, g.input('targets', 'int64', [n]), [n, 1])));
      if (k === 0) return;
      const top = topK(g, result, k);
      g.output('topValues', top.values);
      g.output('topIds', top.ids);
    },
    { ...heads, ...Object.fromEntries(owned) },
    { precision: 'float32' },
  );
  return {
    capacity,
    async run(trunks, requests) {
      invariant(requests.length <= n, `${requests.length} requests for a readout of ${n}`);
      const copy = (from: Float32Array, to: Tensor<'float32'>) => {
        requests.forEach(({ position }, index) => {
          to.data.set(from.subarray(position * width, (position + 1) * width), index * width);
        });
      };
      for (const [index, hidden] of hiddens.entries()) copy(trunks[index].hidden, hidden);
      if (moving !== undefined) copy(trunks[0].tangent!, moving);
      requests.forEach(({ target }, index) => {
        if (targets !== undefined) targets.data[index] = BigInt(target);
      });
      await binding.run();
    },
    valueOf: (index) => values!.data[index],
    topOf: (index) =>
      Array.from({ length: k }, (_, rank) => index * k + rank).map((at) => [
        Number(topIds!.data[at]),
        topValues!.data[at],
      ]),
    vectorOf: (index) => vectors!.data.slice(index * vocabSize, (index + 1) * vocabSize),
    dispose() {
      binding.dispose();
      for (const tensor of owned.values()) tensor.dispose();
    },
  };
}
