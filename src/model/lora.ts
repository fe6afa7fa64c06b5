/** Low-rank adapters: W + alpha/rank · B·A on chosen linear modules. @see LoRA, arXiv 2106.09685 */
import { ConfigError } from '../support/errors.js';
import { didYouMean } from '../support/suggest.js';
import type { ParameterSpec, TransformerConfig } from './config.js';
import { parameterSpecs } from './parameters.js';

export interface LoraConfig {
  readonly rank: number;
  /** The adapter's product is scaled by alpha / rank. */
  readonly alpha: number;
  /** Last parts of module names, as PEFT's `target_modules`: q_proj, down_proj, … */
  readonly targetModules: readonly string[];
}

/** Modules that can carry an adapter. */
export const LORA_MODULES = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] as const;

export interface LoraTarget {
  /** Full module name: model.layers.0.self_attn.q_proj */
  readonly module: string;
  readonly outputs: number;
  readonly inputs: number;
  readonly rank: number;
}

/** Every module of the model that gets an adapter. Errors: ConfigError for an unknown module name or a rank below 1. */
export function loraTargets(config: TransformerConfig, lora: LoraConfig): LoraTarget[] {
  if (!Number.isInteger(lora.rank) || lora.rank < 1) {
    throw new ConfigError(`LoRA rank is ${lora.rank}; expected a whole number of at least 1.`);
  }
  for (const target of lora.targetModules) {
    if (!LORA_MODULES.some((module) => module === target)) {
      throw new ConfigError(
        `LoRA target module '${target}' is unknown.${didYouMean(target, LORA_MODULES)} Known: ${LORA_MODULES.join(', ')}.`,
      );
    }
  }
  return parameterSpecs(config).flatMap(({ name, shape }) => {
    const module = name.replace(/\.weight$/, '');
    const isTarget = name.endsWith('.weight') && lora.targetModules.includes(module.split('.').at(-1) ?? '');
    return isTarget ? [{ module, outputs: shape[0], inputs: shape[1], rank: lora.rank }] : [];
  });
}

/** The two matrices of an adapter: A [rank, in] and B [out, rank]. */
export function loraNames({ module, outputs, inputs, rank }: LoraTarget): ParameterSpec[] {
  return [
    { name: `${module}.lora_A.weight`, shape: [rank, inputs] },
    { name: `${module}.lora_B.weight`, shape: [outputs, rank] },
  ];
}

/** Fresh values: A uniform in ±1/√in (Kaiming with a = √5, as PEFT), B zero, so that training starts at W. */
export function initialAdapter(spec: ParameterSpec, random: { uniform(): number }): Float32Array {
  const values = new Float32Array(spec.shape[0] * spec.shape[1]);
  if (spec.name.endsWith('lora_B.weight')) return values;
  const bound = 1 / Math.sqrt(spec.shape[1]);
  for (let index = 0; index < values.length; index++) values[index] = bound * (2 * random.uniform() - 1);
  return values;
}

/** W ← W + alpha/rank · B·A, in place. */
export function mergeAdapter(
  weight: Float32Array,
  { a, b }: { a: Float32Array; b: Float32Array },
  { target, lora }: { target: LoraTarget; lora: LoraConfig },
): void {
  const scale = lora.alpha / lora.rank;
  const { outputs, inputs, rank } = target;
  for (let row = 0; row < outputs; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = scale * b[row * rank + r];
      if (factor === 0) continue;
      for (let column = 0; column < inputs; column++) weight[row * inputs + column] += factor * a[r * inputs + column];
    }
  }
}
