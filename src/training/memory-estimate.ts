/** Bytes a model needs, estimated from its description alone. */
import { freemem } from 'node:os';
import type { TransformerConfig } from '../model/config.js';
import type { LoraConfig } from '../model/lora.js';
import { countParameters, sizeOfShape } from '../model/parameters.js';
import { trainableSpecs } from './trainable.js';

const FLOAT_BYTES = 4;
/** The session, Node itself and the runtime's libraries. */
const FIXED_BYTES = 150e6;

export interface MemoryEstimate {
  /** Parameters as float32. */
  readonly weightBytes: number;
  /** Gradients and both moments of what is trained. */
  readonly optimizerBytes: number;
  /** Everything the passes hold at their peak. */
  readonly activationBytes: number;
  readonly totalBytes: number;
}

/** Memory to decode `batch` sequences of up to `context` tokens: weights, key/value cache and logits. */
export function estimateInferenceBytes(
  config: TransformerConfig,
  { batch, context }: { batch: number; context: number },
): MemoryEstimate {
  const cache = 2 * config.numLayers * config.numKvHeads * config.headSize * context;
  return summed({
    weightBytes: FLOAT_BYTES * countParameters(config),
    optimizerBytes: 0,
    activationBytes: FLOAT_BYTES * batch * (cache + 2 * config.vocabSize),
  });
}

/** Activations below this are planned as one block: a tenth faster, and the block stands beside the pieces of the first run. */
const PLANNED_LIMIT_BYTES = 512e6;
const PLANNED_FACTOR = 2.1;

/** Whether a training step's scratch memory is small enough to be planned (`SessionOptions.plannedMemory`). */
export function isPlanned(config: TransformerConfig, options: TrainingShape): boolean {
  return stepBytes(config, options) < PLANNED_LIMIT_BYTES;
}

/** What decides the memory of a training step. */
export interface TrainingShape {
  readonly batch: number;
  readonly time: number;
  readonly lora?: LoraConfig | undefined;
  readonly checkpointing: boolean;
}

/**
 * Memory of a training step of B × T tokens. Counted per token: in each layer the residual stream, norms, projections, heads,
 * the gated MLP and T probabilities a query head; what the way back through one layer adds; in the head twice V. With
 * checkpointing only the residual stream is kept, and one layer at a time in full. A trained embedding adds what its gradient
 * and its update pass through. The counts are fitted: within 16 % of the peak, mostly above it, for decoders of 1, 9, 37 and 135 M parameters.
 */
export function estimateTrainingBytes(config: TransformerConfig, options: TrainingShape): MemoryEstimate {
  const numTrained = trainableSpecs(config, options.lora).reduce((sum, { shape }) => sum + sizeOfShape(shape), 0);
  return summed({
    weightBytes: FLOAT_BYTES * countParameters(config),
    optimizerBytes: FLOAT_BYTES * 3 * numTrained,
    activationBytes: stepBytes(config, options) * (isPlanned(config, options) ? PLANNED_FACTOR : 1),
  });
}

/** Bytes that the passes of a step hold at their peak. */
function stepBytes(config: TransformerConfig, { batch, time, lora, checkpointing }: TrainingShape): number {
  const { hiddenSize, intermediateSize, numLayers, numHeads, numKvHeads, headSize, vocabSize } = config;
  const heads = (numHeads + numKvHeads) * headSize;
  const probabilities = numHeads * time;
  const inLayer = 3 * hiddenSize + 2 * heads + 3 * intermediateSize + probabilities;
  const wayBack = 2 * intermediateSize + 3 * probabilities;
  const kept = checkpointing ? numLayers * hiddenSize + inLayer : numLayers * inLayer;
  const head = 2 * vocabSize + 4 * hiddenSize;
  const embedding = lora === undefined ? 2 * vocabSize * hiddenSize : 0;
  return FLOAT_BYTES * (batch * time * (kept + wayBack + head) + embedding);
}

/** Memory this process may still take: what is free on the machine, or left of the limit of its control group. */
export function availableBytes(): number {
  return Math.min(freemem(), process.availableMemory());
}

function summed(parts: Omit<MemoryEstimate, 'totalBytes'>): MemoryEstimate {
  const { weightBytes, optimizerBytes, activationBytes } = parts;
  return { ...parts, totalBytes: FIXED_BYTES + weightBytes + optimizerBytes + activationBytes };
}
