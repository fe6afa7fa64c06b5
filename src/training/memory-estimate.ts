/** Bytes a model needs, estimated from its description alone. */
import { freemem } from 'node:os';
import type { TransformerConfig } from '../model/config.js';
import type { LoraConfig } from '../model/lora.js';
import { countParameters, sizeOfShape } from '../model/parameters.js';
import { trainableSpecs } from './step-graph.js';

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

/**
 * Memory of a training step of B × T tokens. Kept from the forward pass, per layer and token: the residual stream, two norms'
 * results, q, k, v, the attention's result, gate, up and their product (some twice, where a transposed copy is kept), and per
 * query head T probabilities. With checkpointing only the residual stream is kept, and one layer at a time in full. The head
 * holds [B·T, V] twice. Measured against the truth on decoders of 1 to 60 M parameters: within a third.
 */
export function estimateTrainingBytes(
  config: TransformerConfig,
  options: { batch: number; time: number; lora?: LoraConfig | undefined; checkpointing: boolean },
): MemoryEstimate {
  const { batch, time, lora, checkpointing } = options;
  const { hiddenSize, intermediateSize, numLayers, numHeads, numKvHeads, headSize, vocabSize } = config;
  const numTrained = trainableSpecs(config, lora).reduce((sum, { shape }) => sum + sizeOfShape(shape), 0);
  const heads = (numHeads + numKvHeads) * headSize;
  const inLayer = 5 * hiddenSize + 5 * heads + 4 * intermediateSize + 2 * numHeads * time;
  const kept = checkpointing ? numLayers * hiddenSize + 2 * inLayer : (numLayers + 1) * inLayer;
  const head = 2 * vocabSize + 4 * hiddenSize;
  return summed({
    weightBytes: FLOAT_BYTES * countParameters(config),
    optimizerBytes: FLOAT_BYTES * 3 * numTrained,
    activationBytes: FLOAT_BYTES * batch * time * (kept + head),
  });
}

/** Memory this process may still take: what is free on the machine, or left of the limit of its control group. */
export function availableBytes(): number {
  return Math.min(freemem(), process.availableMemory());
}

function summed(parts: Omit<MemoryEstimate, 'totalBytes'>): MemoryEstimate {
  const { weightBytes, optimizerBytes, activationBytes } = parts;
  return { ...parts, totalBytes: FIXED_BYTES + weightBytes + optimizerBytes + activationBytes };
}
