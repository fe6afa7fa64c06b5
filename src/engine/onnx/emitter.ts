/**
 * Where lowerings write their nodes. A node asked for twice (same op, inputs and attributes) is emitted once: the backward op
 * of a step can name what its forward op already computed and gets it for nothing.
 */
import { invariant } from '../../support/errors.js';
import type { Dtype, Shape, TypedArray, Value } from '../graph/types.js';
import type { Attribute, OnnxNode, OnnxTensorType } from './model-writer.js';

/** Name of a tensor in the ONNX model. */
export type Name = string;

export interface LoweringOptions {
  /** Threads the runtime will use: some nodes are only correct, or only fast, on one. */
  readonly numThreads: number;
}

export interface Emitter {
  readonly options: LoweringOptions;
  nameOf(value: Value): Name;
  /** Emits a node of standard ONNX. */
  node(op: string, inputs: readonly Name[], attributes?: Record<string, Attribute>, numOutputs?: number): Name[];
  /** Emits a node of the runtime's own domain. */
  contrib(op: string, inputs: readonly Name[], attributes?: Record<string, Attribute>, numOutputs?: number): Name[];
  floats(shape: Shape, data: Float32Array): Name;
  ints(values: readonly number[], dtype?: 'int64' | 'int32'): Name;
  scalar(value: number): Name;
  /** A constant that is large and derived from `key` alone, made at most once. */
  cached(key: string, shape: Shape, make: () => Float32Array): Name;
}

export interface EmitterState extends Emitter {
  bind(value: Value, name: Name): void;
  readonly nodes: OnnxNode[];
  readonly initializers: (OnnxTensorType & { readonly data: TypedArray })[];
}

/** Names of inner tensors; the mark keeps them apart from a graph's own names. */
export const innerName = (kind: string, index: number): Name => `~${kind}_${index}`;

export function createEmitter(options: LoweringOptions): EmitterState {
  const names = new Map<Value, Name>();
  const nodes: OnnxNode[] = [];
  const initializers: (OnnxTensorType & { readonly data: TypedArray })[] = [];
  const emitted = new Map<string, Name[]>();
  const constants = new Map<string, Name>();
  let counter = 0;

  const emit = (
    domain: string,
    op: string,
    inputs: readonly Name[],
    attributes: Record<string, Attribute> = {},
    numOutputs = 1,
  ): Name[] => {
    const key = `${domain}:${op}(${inputs.join()})${JSON.stringify(attributes)}#${numOutputs}`;
    const known = emitted.get(key);
    if (known !== undefined) return known;
    const outputs = Array.from({ length: numOutputs }, () => innerName(op, counter++));
    nodes.push({ op, domain, inputs, outputs, attributes });
    emitted.set(key, outputs);
    return outputs;
  };

  const initializer = (key: string, dtype: Dtype, shape: Shape, make: () => TypedArray): Name => {
    const known = constants.get(key);
    if (known !== undefined) return known;
    const name = innerName('constant', counter++);
    initializers.push({ name, dtype, shape, data: make() });
    constants.set(key, name);
    return name;
  };

  return {
    options,
    nodes,
    initializers,
    bind: (value, name) => void names.set(value, name),
    nameOf(value) {
      const name = names.get(value);
      invariant(name !== undefined, `value %${value.id} (${value.label ?? 'unlabelled'}) used before it is computed`);
      return name;
    },
    node: (op, inputs, attributes, numOutputs) => emit('', op, inputs, attributes, numOutputs),
    contrib: (op, inputs, attributes, numOutputs) => emit('com.microsoft', op, inputs, attributes, numOutputs),
    floats: (shape, data) => initializer(`floats ${counter}`, 'float32', shape, () => data),
    ints: (values, dtype = 'int64') =>
      initializer(`${dtype} ${values.join()}`, dtype, [values.length], () =>
        dtype === 'int64' ? BigInt64Array.from(values, BigInt) : Int32Array.from(values),
      ),
    scalar: (value) => initializer(`scalar ${value}`, 'float32', [], () => Float32Array.of(value)),
    cached: (key, shape, make) => initializer(`cached ${key}`, 'float32', shape, make),
  };
}
