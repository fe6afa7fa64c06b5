/**
 * Final hidden states of whole rows, and how they move along a direction in parameter space: everything below the head. In float32
 * whatever the compiler's precision: differences of nearly equal numbers are taken of them.
 */
import { directionalDerivatives } from '../../engine/autodiff/forward.js';
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { attention } from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import type { Tensor, TensorMap } from '../../engine/runtime/types.js';
import { cachedLayers } from '../../inference/cached-layers.js';
import { cacheLayout, createKvCache } from '../../inference/kv-cache.js';
import { tangentName } from '../../inference/tangent-graph.js';
import type { TransformerConfig } from '../../model/config.js';
import { attentionScale, declareDecoderInput, declareWeights, decoderHidden } from '../../model/decoder.js';
import { type LanguageModel, modelTensors } from '../../model/language-model.js';
import type { LoraConfig } from '../../model/lora.js';

/** How far each parameter moves, by name. */
type Direction = ReadonlyMap<string, Tensor<'float32'>>;

/** A model, alone or with a direction that its parameters move along. */
export interface TrunkSource {
  readonly model: LanguageModel;
  readonly direction?: Direction | undefined;
}

export interface BoundTrunk {
  /** Computes the hidden states of rows that fit. */
  run(rows: readonly (readonly number[])[]): Promise<void>;
  /** [B·T, C], in row order; `tangent` with a direction. Good until the next run. */
  readonly hidden: Float32Array;
  readonly tangent: Float32Array | undefined;
  dispose(): void;
}

/** Tokens of a chunk of a row that goes through a cache. */
const CHUNK_TIME = 256;

/** Tangent inputs of what is in `values`, by their names. */
function seedsOf(g: GraphBuilder, values: Iterable<readonly [string, Value]>): Map<Value, Value> {
  return new Map(
    [...values].map(([name, value]) => [value, g.input(tangentName(name), 'float32', value.shape)] as const),
  );
}

/** Rows whole: output hidden [B·T, C] and, if moving, tangent.hidden. */
function buildTrunkGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  shape: { batch: number; time: number; lora: LoraConfig | undefined; isMoving: boolean },
): void {
  const { batch, time, lora, isMoving } = shape;
  const weights = declareWeights(g, config, lora);
  const input = declareDecoderInput(g, config, { batch, time, numPositions: time });
  const scale = attentionScale(config);
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: { lora, attend: (_, { q, k, v }) => attention(g, q, k, v, scale) },
  });
  g.output('hidden', hidden);
  if (!isMoving) return;
  g.output(tangentName('hidden'), directionalDerivatives(g, [hidden], seedsOf(g, weights))[0]);
}

/** A chunk of one row against a cache, and a cache of tangents if moving; both change in place. */
function buildChunkTrunkGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  shape: { capacity: number; firstChunk: boolean; lora: LoraConfig | undefined; isMoving: boolean },
): void {
  const { capacity, firstChunk, lora, isMoving } = shape;
  const cached = cachedLayers(g, config, { batch: 1, time: CHUNK_TIME, capacity, firstChunk }, lora);
  const { weights, hidden, caches } = cached;
  g.output('hidden', hidden);
  if (!isMoving) return;
  const layers = caches.flatMap(({ names, before, after }) => [
    { name: names.keys, before: before.keys, after: after.keys },
    { name: names.values, before: before.values, after: after.values },
  ]);
  const seeds = seedsOf(g, [...weights, ...layers.map(({ name, before }) => [name, before] as const)]);
  const [moved, ...movedCaches] = directionalDerivatives(g, [hidden, ...layers.map(({ after }) => after)], seeds);
  g.output(tangentName('hidden'), moved);
  layers.forEach(({ name }, index) => {
    const cache = tangentName(name);
    g.output(`${cache}.next`, movedCaches[index], { inPlaceOf: cache });
  });
}

/** Rows of at most `time` tokens, up to `batch` of them at once; padding on the right is harmless. */
export function bindWholeTrunk(source: TrunkSource, { batch, time }: { batch: number; time: number }): BoundTrunk {
  const { model, direction } = source;
  const { compiler, config, lora, architectureKey } = model;
  const isMoving = direction !== undefined;
  const feeds = createFeeds(source, batch, time);
  const binding = compiler.bind(
    `trunk/${architectureKey}/${batch}/${time}/${isMoving}`,
    (g) => buildTrunkGraph(g, config, { batch, time, lora, isMoving }),
    { ...modelTensors(model, time), ...feeds.tensors },
    { precision: 'float32' },
  );
  return {
    async run(rows) {
      for (const [row, tokens] of rows.entries()) feeds.feed(row, tokens, 0);
      await binding.run();
    },
    get hidden() {
      return feeds.hidden.data;
    },
    get tangent() {
      return feeds.tangent?.data;
    },
    dispose() {
      binding.dispose();
      feeds.dispose();
    },
  };
}

/** One row of at most `length` tokens, in chunks against a cache: no T × T matrix. */
export function bindChunkTrunk(source: TrunkSource, length: number): BoundTrunk {
  const { model, direction } = source;
  const { compiler, config, lora, architectureKey } = model;
  const { runtime } = compiler;
  const isMoving = direction !== undefined;
  const feeds = createFeeds(source, 1, CHUNK_TIME);
  const caches = [createKvCache(runtime, cacheLayout(config, 'float32'), Number.POSITIVE_INFINITY)];
  if (isMoving) caches.push(createKvCache(runtime, cacheLayout(config, 'float32'), Number.POSITIVE_INFINITY));
  const numChunks = Math.ceil(length / CHUNK_TIME);
  for (const cache of caches) cache.ensure({ slots: 1, capacity: numChunks * CHUNK_TIME }, []);
  const { capacity } = caches[0].size;
  const [values, tangents] = caches.map((cache) => cache.views(0, 1));
  const lengths = runtime.tensor('int32', [1]);
  const total = runtime.tensor('int32', [1]);
  const bind = (firstChunk: boolean) =>
    compiler.bind(
      `trunk/${architectureKey}/chunk/${capacity}/${firstChunk}/${isMoving}`,
      (g) => buildChunkTrunkGraph(g, config, { capacity, firstChunk, lora, isMoving }),
      { ...modelTensors(model, capacity), ...values, ...tangentsOf(tangents), ...feeds.tensors, lengths, total },
      { precision: 'float32' },
    );
  const [first, later] = [bind(true), bind(false)];
  const hidden = new Float32Array(numChunks * CHUNK_TIME * config.hiddenSize);
  const tangent = isMoving ? new Float32Array(hidden.length) : undefined;
  return {
    hidden,
    tangent,
    async run([tokens]) {
      for (let start = 0; start < tokens.length; start += CHUNK_TIME) {
        feeds.feed(0, tokens, start);
        lengths.data[0] = start + CHUNK_TIME;
        total.data[0] = start + CHUNK_TIME;
        await (start === 0 ? first : later).run();
        hidden.set(feeds.hidden.data, start * config.hiddenSize);
        if (feeds.tangent !== undefined) tangent?.set(feeds.tangent.data, start * config.hiddenSize);
      }
    },
    dispose() {
      for (const binding of [first, later]) binding.dispose();
      for (const cache of caches) cache.dispose();
      for (const tensor of [lengths, total]) tensor.dispose();
      feeds.dispose();
    },
  };
}

const tangentsOf = (tensors: TensorMap = {}): TensorMap =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [tangentName(name), tensor]));

/** Memory of tokens, positions and results for B rows of T positions, with the tangents of the parameters. */
function createFeeds({ model, direction }: TrunkSource, batch: number, time: number) {
  const { runtime } = model.compiler;
  const { hiddenSize } = model.config;
  const tokens = runtime.tensor('int64', [batch * time]);
  const positions = runtime.tensor('int64', [batch, time]);
  const hidden = runtime.tensor('float32', [batch * time, hiddenSize]);
  const tangent = direction === undefined ? undefined : runtime.tensor('float32', [batch * time, hiddenSize]);
  const own = { tokens, positions, hidden, ...(tangent && { [tangentName('hidden')]: tangent }) };
  const moving = direction === undefined ? {} : tangentsOf(Object.fromEntries(direction));
  return {
    hidden,
    tangent,
    tensors: { ...moving, ...own } as TensorMap,
    feed(row: number, source: readonly number[], start: number): void {
      for (let index = 0; index < time; index++) {
        tokens.data[row * time + index] = BigInt(source[start + index] ?? 0);
        positions.data[row * time + index] = BigInt(start + index);
      }
    },
    dispose(): void {
      for (const tensor of Object.values(own)) tensor.dispose();
    },
  };
}
