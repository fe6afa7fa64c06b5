/** What training minimises: a graph over a micro-batch, whatever computes it. */
import { createCheckpointing } from '../engine/autodiff/checkpointing.js';
import type { Compiler } from '../engine/compiler.js';
import type { GraphBuilder } from '../engine/graph/builder.js';
import { attention, headLoss } from '../engine/graph/ops.js';
import type { Node, TensorType, Value } from '../engine/graph/types.js';
import type { Precision } from '../engine/onnx/emitter.js';
import type { Tensor, TensorMap } from '../engine/runtime/types.js';
import { attentionScale, declareDecoderInput, declareWeights, decoderHidden, headWeight } from '../model/decoder.js';
import { type LanguageModel, modelTensors } from '../model/language-model.js';
import { isPlanned } from './memory-estimate.js';
import { type TrainingGraph, trainableSpecs } from './trainable.js';

/** Rows of a micro-batch and tokens of each. */
export interface BatchShape {
  readonly batch: number;
  readonly time: number;
}

export type TensorTypes = Readonly<Record<string, TensorType>>;

/** A scalar to minimise and the values to move. */
export interface Differentiable {
  readonly loss: Value;
  /** The trained tensors by name. */
  readonly parameters: ReadonlyMap<string, Value>;
  /** Stands in for a node's forward value on the way back (activation checkpointing). */
  readonly recompute?: ((node: Node, cotangent: Value) => Node) | undefined;
}

/** A loss over micro-batches with what its graph takes. */
export interface Objective {
  readonly compiler: Compiler;
  /** Of its products; default: the compiler's. */
  readonly precision?: Precision | undefined;
  /** Names the graphs: for equal shapes, equal keys build equal graphs. */
  readonly key: string;
  /** What is trained, by name. */
  readonly trained: ReadonlyMap<string, Tensor<'float32'>>;
  /** Every tensor the graph takes that belongs to no batch, for rows of `time` tokens, trained ones included. */
  tensors(time: number): TensorMap;
  /** Inputs that are written anew for each batch; `positions` [B, T] is there without being named. */
  inputs(shape: BatchShape): TensorTypes;
  /** Outputs that may be read after a run, beside `loss`. */
  outputs(shape: BatchShape): TensorTypes;
  /** Whether the scratch memory is planned as one block (`SessionOptions.plannedMemory`). */
  isPlanned(shape: BatchShape): boolean;
  /** Declares inputs and outputs (all but `loss`) and builds the loss. */
  build(g: GraphBuilder, shape: BatchShape): Differentiable;
}

/** A loss on what a language model says at each position. */
export interface TokenLoss {
  /** Names the graph it builds. */
  readonly key: string;
  inputs(shape: BatchShape): TensorTypes;
  outputs?(shape: BatchShape): TensorTypes;
  /** hidden [B·T, C] and the head's matrix [V, C] → the loss, and the outputs by name. */
  build(
    g: GraphBuilder,
    at: {
      readonly hidden: Value;
      readonly head: Value;
      readonly inputs: Readonly<Record<string, Value>>;
      readonly shape: BatchShape;
    },
  ): { readonly loss: Value; readonly outputs?: Readonly<Record<string, Value>> };
}

/** Σ weights·(−ln p(target | before)): targets [B·T] int64, weights [B·T]. */
export const crossEntropy: TokenLoss = {
  key: 'cross-entropy',
  inputs: ({ batch, time }) => ({
    targets: { dtype: 'int64', shape: [batch * time] },
    weights: { dtype: 'float32', shape: [batch * time] },
  }),
  build: (g, { hidden, head, inputs: { targets, weights } }) => ({
    loss: headLoss(g, hidden, head, { targets, weights }).loss,
  }),
};

/** A loss on a language model's outputs; its adapters are trained where it has any, else every parameter. Input tokens [B·T]. */
export function languageModelObjective(
  model: LanguageModel,
  tokenLoss: TokenLoss,
  { checkpointing, precision }: { checkpointing: boolean; precision?: Precision | undefined },
): Objective {
  const { config, lora } = model;
  return {
    compiler: model.compiler,
    precision,
    key: `${model.architectureKey}/${tokenLoss.key}/${checkpointing}`,
    trained: new Map(trainableSpecs(config, lora).map(({ name }) => [name, model.parameters.get(name)!])),
    tensors: (time) => modelTensors(model, time),
    inputs: (shape) => ({
      tokens: { dtype: 'int64', shape: [shape.batch * shape.time] },
      ...tokenLoss.inputs(shape),
    }),
    outputs: (shape) => tokenLoss.outputs?.(shape) ?? {},
    isPlanned: (shape) => isPlanned(config, { ...shape, lora, checkpointing }),
    build: (g, shape) => buildTokenLoss(g, { config, lora, ...shape, checkpointing }, tokenLoss),
  };
}

/** The decoder with a loss behind it: inputs of the decoder, of the parameters and of the loss. */
export function buildTokenLoss(g: GraphBuilder, graph: TrainingGraph, tokenLoss: TokenLoss): Differentiable {
  const { config, lora, batch, time } = graph;
  const shape = { batch, time };
  const weights = declareWeights(g, config, lora);
  const input = declareDecoderInput(g, config, { batch, time, numPositions: time });
  const inputs = declareInputs(g, tokenLoss.inputs(shape));
  const scale = attentionScale(config);
  const checkpointing = graph.checkpointing ? createCheckpointing(g) : undefined;
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: {
      lora,
      attend: (_, { q, k, v }) => attention(g, q, k, v, scale),
      onLayer: (layer, x) => (layer < config.numLayers ? checkpointing?.begin(x) : checkpointing?.end()),
    },
  });
  const { loss, outputs = {} } = tokenLoss.build(g, { hidden, head: headWeight(config, weights), inputs, shape });
  for (const [name, value] of Object.entries(outputs)) g.output(name, value);
  return {
    loss,
    parameters: new Map(trainableSpecs(config, lora).map(({ name }) => [name, weights.get(name)!])),
    recompute: checkpointing?.recompute,
  };
}

/** Inputs of these types, by name. */
export function declareInputs(g: GraphBuilder, types: TensorTypes): Readonly<Record<string, Value>> {
  return Object.fromEntries(
    Object.entries(types).map(([name, { dtype, shape }]) => [name, g.input(name, dtype, shape)]),
  );
}
