/** From the name of a model to a model in memory with its tokenizer: what every command starts with. */
import { type Compiler, createCompiler, effectivePrecision, type PrecisionChoice } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import { openRuntime } from '../engine/runtime/open.js';
import { type Checkpoint, type OpenOptions, openCheckpoint } from '../model/checkpoint.js';
import { readAdapter } from '../model/files/adapter.js';
import { type LanguageModel, loadModel, withLora } from '../model/language-model.js';
import { openTokenizer } from '../tokenizer/open.js';
import type { Tokenizer } from '../tokenizer/types.js';

export interface OpenModelOptions extends OpenOptions {
  /** Threads that compute; default: the physical cores this process may use. */
  readonly threads?: number | undefined;
  /** What products compute in; default: float32. Of no effect with a `compiler`, which has its own. */
  readonly precision?: PrecisionChoice | undefined;
  /** Shared by several models of one process; made, and disposed of with the model, where it is not given. */
  readonly compiler?: Compiler | undefined;
  /** Folder of a LoRA adapter (PEFT) to run the model with. */
  readonly adapter?: string | undefined;
}

export interface OpenedModel {
  readonly model: LanguageModel;
  /** Undefined where the checkpoint has none: rows of token ids need none. */
  readonly tokenizer: Tokenizer | undefined;
  readonly checkpoint: Checkpoint;
  dispose(): void;
}

/**
 * Opens a model: a Hugging Face folder, a `.gguf` file, or `org/name[@revision]` from the hub; weights in float32.
 * Errors: ModelLoadError.
 */
export async function openModel(location: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  const checkpoint = await openCheckpoint(location, options);
  const { compiler, release } = compilerFor(options);
  try {
    const { tokenizerSource } = checkpoint;
    const tokenizer = tokenizerSource === undefined ? undefined : openTokenizer(tokenizerSource);
    const adapter = options.adapter === undefined ? undefined : readAdapter(options.adapter, checkpoint.config);
    const base = loadModel(compiler, checkpoint);
    const model = adapter === undefined ? base : withLora(base, adapter.lora, { adapter: adapter.values });
    return {
      model,
      tokenizer,
      checkpoint,
      dispose() {
        model.dispose();
        release();
      },
    };
  } catch (error) {
    release();
    throw error;
  } finally {
    checkpoint.dispose();
  }
}

/** What a precision that is asked for comes to on this machine. */
export function machinePrecision(precision: PrecisionChoice): Precision {
  const runtime = openRuntime({ threads: 1 });
  try {
    return effectivePrecision(runtime, precision);
  } finally {
    runtime.dispose();
  }
}

/** The compiler to use, and what gives back what was made for it. */
export function compilerFor(options: Pick<OpenModelOptions, 'threads' | 'precision' | 'compiler'>): {
  compiler: Compiler;
  release: () => void;
} {
  if (options.compiler !== undefined) return { compiler: options.compiler, release: () => {} };
  const compiler = createCompiler(openRuntime({ threads: options.threads }), { precision: options.precision });
  return {
    compiler,
    release() {
      compiler.dispose();
      compiler.runtime.dispose();
    },
  };
}

/** The tokenizer of a model, without its weights. */
export async function openCheckpointTokenizer(
  location: string,
  options: OpenOptions = {},
): Promise<{ checkpoint: Checkpoint; tokenizer: Tokenizer | undefined }> {
  const checkpoint = await openCheckpoint(location, options);
  checkpoint.dispose();
  const { tokenizerSource } = checkpoint;
  return { checkpoint, tokenizer: tokenizerSource === undefined ? undefined : openTokenizer(tokenizerSource) };
}
