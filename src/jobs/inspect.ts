/** What a checkpoint is, read from its headers: no weights are loaded. */
import { type OpenOptions, openCheckpoint } from '../model/checkpoint.js';
import type { TransformerConfig } from '../model/config.js';
import { countParameters } from '../model/parameters.js';
import { openTokenizer } from '../tokenizer/open.js';
import { estimateInferenceBytes, estimateTrainingBytes } from '../training/memory-estimate.js';

export interface Inspection {
  readonly location: string;
  readonly kind: 'safetensors' | 'gguf';
  /** Commit on the hub, for a model from there. */
  readonly revision: string | null;
  readonly numParameters: number;
  /** Storage type of most weights. */
  readonly dtype: string;
  readonly fileBytes: number;
  /** Of matrices in blocks that kernels compute on as they are stored (`azeotrope doctor` says whether there are any here). */
  readonly blockBytes: number;
  readonly config: TransformerConfig;
  readonly tokenizer: {
    readonly numTokens: number;
    readonly bosToken: string | null;
    readonly eosTokens: readonly string[];
    readonly fingerprint: string;
    /** Jinja source, or null. */
    readonly chatTemplate: string | null;
  } | null;
  /** Estimates, float32. */
  readonly memory: {
    readonly weightBytes: number;
    /** One sequence of 2,048 tokens (or the model's context, if shorter). */
    readonly runBytes: number;
    /** 32 sequences of that length in one batch. */
    readonly runBatch32Bytes: number;
    /** All weights, micro-batches of 4 × 256 tokens. */
    readonly trainBytes: number;
    /** LoRA of rank 16 on every linear module, the same batch. */
    readonly trainLoraBytes: number;
  };
  readonly warnings: readonly string[];
}

const LORA = {
  rank: 16,
  alpha: 32,
  targetModules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
};

/** Describes a model (see `openModel` for what may be named). Errors: ModelLoadError. */
export async function inspectModel(location: string, options: OpenOptions = {}): Promise<Inspection> {
  const checkpoint = await openCheckpoint(location, options);
  try {
    const { config, tokenizerSource } = checkpoint;
    const tokenizer = tokenizerSource === undefined ? undefined : openTokenizer(tokenizerSource);
    const context = Math.min(2048, config.maxPositions);
    const batch = { batch: 4, time: Math.min(256, config.maxPositions), checkpointing: false };
    const run = (size: number) => estimateInferenceBytes(config, { batch: size, context });
    return {
      location,
      kind: checkpoint.kind,
      revision: checkpoint.revision ?? null,
      numParameters: countParameters(config),
      dtype: checkpoint.dtype,
      fileBytes: checkpoint.fileBytes,
      blockBytes: checkpoint.parameters.reduce((sum, { name }) => sum + (checkpoint.blocks(name)?.sizeBytes ?? 0), 0),
      config,
      tokenizer:
        tokenizer === undefined
          ? null
          : {
              numTokens: tokenizer.vocabSize,
              bosToken: tokenizer.bosTokenId === undefined ? null : (tokenizer.tokenOf(tokenizer.bosTokenId) ?? null),
              eosTokens: tokenizer.eosTokenIds.map((id) => tokenizer.tokenOf(id) ?? `#${id}`),
              fingerprint: tokenizer.fingerprint,
              chatTemplate: tokenizer.chatTemplate ?? null,
            },
      memory: {
        weightBytes: run(1).weightBytes,
        runBytes: run(1).totalBytes,
        runBatch32Bytes: run(32).totalBytes,
        trainBytes: estimateTrainingBytes(config, batch).totalBytes,
        trainLoraBytes: estimateTrainingBytes(config, { ...batch, lora: LORA }).totalBytes,
      },
      warnings: checkpoint.warnings,
    };
  } finally {
    checkpoint.dispose();
  }
}
