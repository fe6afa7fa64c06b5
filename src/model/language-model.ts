/** A model in memory: parameters that training updates in place and decoding reads, one copy for both. */
import type { Compiler } from '../engine/compiler.js';
import { blockOpOf } from '../engine/onnx/native/block-op.js';
import type { Tensor, TensorMap } from '../engine/runtime/types.js';
import { sha256OfJson } from '../support/hash.js';
import type { Checkpoint } from './checkpoint.js';
import type { ParameterSpec, TransformerConfig } from './config.js';
import type { LoraConfig } from './lora.js';
import { initialAdapter, loraNames, loraTargets, mergeAdapter } from './lora.js';
import { initialParameter, parameterSpecs, sizeOfShape } from './parameters.js';
import { rotaryTables } from './rotary-tables.js';

export interface LanguageModel {
  readonly compiler: Compiler;
  readonly config: TransformerConfig;
  /** Adapters in use, if any; their matrices are among `parameters`. */
  readonly lora: LoraConfig | undefined;
  /** By checkpoint name; adapters as `<module>.lora_A.weight` and `.lora_B.weight`. */
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  /** Identifies the architecture (configuration and adapters): models with equal keys can share sessions. */
  readonly architectureKey: string;
  /** Inputs `cos` and `sin` [numPositions, D/2] of the rotary embedding. */
  rotary(numPositions: number): { readonly cos: Tensor<'float32'>; readonly sin: Tensor<'float32'> };
  dispose(): void;
}

/** The tensors every graph of the model takes: parameters by name, and the rotary tables. */
export function modelTensors(model: LanguageModel, numPositions: number): TensorMap {
  return { ...Object.fromEntries(model.parameters), ...model.rotary(numPositions) };
}

/**
 * Reads every weight of a checkpoint into memory: as float32, or, where the compiler's kernels compute on a matrix as it is stored,
 * in its blocks (its values are then made when something first asks for them).
 */
export function loadModel(
  compiler: Compiler,
  checkpoint: Pick<Checkpoint, 'config' | 'read' | 'blocks'>,
): LanguageModel {
  const isKept = blockOpOf(compiler.runtime.kernels.ops, compiler.precision) !== undefined;
  const matrices = parameterSpecs(checkpoint.config).flatMap((spec) => {
    const blocks = isKept ? checkpoint.blocks(spec.name) : undefined;
    return blocks === undefined ? [] : [{ ...spec, ...blocks }];
  });
  const tensors = matrices.length === 0 ? [] : compiler.runtime.stored(matrices);
  const stored = new Map(matrices.map(({ name }, index) => [name, tensors[index]]));
  const fill = (spec: ParameterSpec, into: Float32Array) => checkpoint.read(spec.name, into);
  return buildModel(compiler, checkpoint.config, fill, stored);
}

/** A model with fresh weights. `random` decides all of them. */
export function createModel(
  compiler: Compiler,
  config: TransformerConfig,
  random: { normal(): number; uniform(): number },
): LanguageModel {
  return buildModel(compiler, config, (spec, into) => void initialParameter(spec, config, random, { into }));
}

function buildModel(
  compiler: Compiler,
  config: TransformerConfig,
  fill: (spec: ParameterSpec, into: Float32Array) => void,
  given: ReadonlyMap<string, Tensor<'float32'>> = new Map(),
): LanguageModel {
  const { runtime } = compiler;
  const parameters = new Map<string, Tensor<'float32'>>();
  try {
    for (const spec of parameterSpecs(config)) {
      const tensor = given.get(spec.name) ?? runtime.tensor('float32', spec.shape);
      parameters.set(spec.name, tensor);
      if (!given.has(spec.name)) fill(spec, tensor.data);
    }
  } catch (error) {
    for (const tensor of [...parameters.values(), ...given.values()]) tensor.dispose();
    throw error;
  }
  return assemble(compiler, config, parameters, undefined);
}

function assemble(
  compiler: Compiler,
  config: TransformerConfig,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  lora: LoraConfig | undefined,
): LanguageModel {
  const { runtime } = compiler;
  const tables = new Map<number, { cos: Tensor<'float32'>; sin: Tensor<'float32'> }>();
  return {
    compiler,
    config,
    lora,
    parameters,
    architectureKey: sha256OfJson({ config, lora: lora ?? null }),
    rotary(numPositions) {
      const kept = tables.get(numPositions);
      if (kept !== undefined) return kept;
      const shape = [numPositions, config.headSize / 2];
      const { cos, sin } = rotaryTables(config, numPositions);
      const made = { cos: runtime.tensor('float32', shape, cos), sin: runtime.tensor('float32', shape, sin) };
      tables.set(numPositions, made);
      return made;
    },
    dispose() {
      for (const tensor of parameters.values()) tensor.dispose();
      for (const { cos, sin } of tables.values()) {
        cos.dispose();
        sin.dispose();
      }
      tables.clear();
    },
  };
}

/**
 * The same model with adapters: the base parameters are shared, not copied; disposing of the result disposes of both. Values of
 * `adapter` (by name) are taken where given, else fresh ones from `random`.
 */
export function withLora(
  model: LanguageModel,
  lora: LoraConfig,
  values: { random: { uniform(): number } } | { adapter: ReadonlyMap<string, Float32Array> },
): LanguageModel {
  const parameters = new Map(model.parameters);
  for (const spec of loraTargets(model.config, lora).flatMap(loraNames)) {
    const data = 'adapter' in values ? values.adapter.get(spec.name) : initialAdapter(spec, values.random);
    parameters.set(spec.name, model.compiler.runtime.tensor('float32', spec.shape, data));
  }
  return assemble(model.compiler, model.config, parameters, lora);
}

/**
 * The values of a parameter, for those who do not write: a copy where they are not in memory, so that what is stored in blocks stays
 * what is computed with.
 */
export function valuesOf(parameter: Tensor<'float32'>): Float32Array {
  const { shape, read } = parameter;
  if (read === undefined) return parameter.data;
  const values = new Float32Array(sizeOfShape(shape));
  read(values);
  return values;
}

/** A model of the same architecture, which shares its sessions, with parameters of its own that `fill` writes from the old ones. */
export function deriveModel(
  model: LanguageModel,
  fill: (name: string, source: Float32Array, into: Float32Array) => void,
): LanguageModel {
  const { compiler, config, lora } = model;
  const parameters = new Map<string, Tensor<'float32'>>();
  try {
    for (const [name, source] of model.parameters) {
      const tensor = compiler.runtime.tensor('float32', source.shape);
      parameters.set(name, tensor);
      fill(name, valuesOf(source), tensor.data);
    }
  } catch (error) {
    for (const tensor of parameters.values()) tensor.dispose();
    throw error;
  }
  return assemble(compiler, config, parameters, lora);
}

/** Adds every adapter into its weight, in place, and gives the model without adapters. */
export function mergeLora(model: LanguageModel): LanguageModel {
  const { lora } = model;
  if (lora === undefined) return model;
  const parameters = new Map(model.parameters);
  for (const target of loraTargets(model.config, lora)) {
    const [a, b] = loraNames(target).map(({ name }) => parameters.get(name)!);
    mergeAdapter(parameters.get(`${target.module}.weight`)!.data, { a: a.data, b: b.data }, { target, lora });
    for (const { name } of loraNames(target)) {
      parameters.get(name)!.dispose();
      parameters.delete(name);
    }
  }
  return assemble(model.compiler, model.config, parameters, undefined);
}
