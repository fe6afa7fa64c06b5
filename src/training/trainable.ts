/** What of a model is trained, and the shape of its graph. */
import type { ParameterSpec, TransformerConfig } from '../model/config.js';
import { type LoraConfig, loraNames, loraTargets } from '../model/lora.js';
import { parameterSpecs } from '../model/parameters.js';

export interface TrainingGraph {
  readonly config: TransformerConfig;
  /** Adapters: where given, only they are trained. */
  readonly lora?: LoraConfig | undefined;
  readonly batch: number;
  /** Tokens of a row. */
  readonly time: number;
  /** Keep only what enters each layer and compute the rest again on the way back. */
  readonly checkpointing: boolean;
}

/** Tensors that training changes: the adapters where there are any, else every parameter. */
export function trainableSpecs(config: TransformerConfig, lora?: LoraConfig): ParameterSpec[] {
  return lora === undefined ? parameterSpecs(config) : loraTargets(config, lora).flatMap(loraNames);
}
