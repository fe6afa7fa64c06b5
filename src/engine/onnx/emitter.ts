/**
 * Where lowerings write their nodes. A node asked for twice (same op, inputs and attributes) is emitted once: the backward op
 * of a step can name what its forward op already computed and gets it for nothing.
 */
import { BackendError, invariant } from '../../support/errors.js';
import { sameShape, sizeOf } from '../graph/shape-rules.js';
import type { Dtype, Node, Shape, TypedArray, Value } from '../graph/types.js';
import type { PackedForm } from '../runtime/types.js';
import { createGraphView, type GraphView } from './graph-view.js';
import { type HalfMatrix, halfMatrix, matrixOf, viewedHalf } from './half-matrix.js';
import type { Attribute, ElementType, OnnxNode, OnnxTensorType } from './model-writer.js';
import { packedShape } from './native/packed-weight.js';

/** Name of a tensor in the ONNX model. */
export type Name = string;

/** What products are computed in. Values of the graph, sums and what is stored stay float32 in both. */
export type Precision = 'float32' | 'bfloat16';

export interface LoweringOptions {
  /** Threads the runtime will use: some nodes are only correct, or only fast, on one. */
  readonly numThreads: number;
  /** Default: float32. */
  readonly precision?: Precision;
  /** Ops of the native kernels that the runtime has. Default: none. */
  readonly kernels?: ReadonlySet<string>;
  /**
   * The graph is run many times between two changes of its parameters (inference): weights may be taken in a packed form that is
   * made once. Default: false.
   */
  readonly constantWeights?: boolean;
  /** Linear layers give a row the same bits whatever number of rows stands beside it; where kernels are. Default: false. */
  readonly rowsApart?: boolean;
  /** Inputs that change less often than the graph runs: their packed forms are kept from run to run. Default: none. */
  readonly frozen?: ReadonlySet<string>;
  /** Inputs whose values are to be had as stored blocks too, by name. Default: none. */
  readonly stored?: ReadonlyMap<string, StoredForm>;
}

/** Blocks that hold a tensor's values. */
export interface StoredForm {
  readonly format: number;
  readonly sizeBytes: number;
}

/** An output of a native node. One that is optional is not made where nothing reads it. */
export interface NativeOutput {
  readonly type: ElementType;
  readonly shape: Shape;
  readonly isOptional?: boolean;
}

export interface Emitter {
  readonly options: Required<LoweringOptions>;
  readonly view: GraphView;
  /** The float32 (or integer) tensor of a value; computes what was put off. */
  nameOf(value: Value): Name;
  /** The bfloat16 form of a value as a matrix of `width` columns (default: its last axis). */
  halfOf(value: Value, width?: number): HalfMatrix;
  /** The packed form of weights [O, I] that are inputs of the graph: an input of the model from then on. */
  packedOf(weights: readonly Value[], form: PackedForm): Name;
  /** Whether a value is an input that seldom changes, so that it is worth keeping its packed form. */
  isFrozen(value: Value): boolean;
  /** How an input of the graph is stored, if in blocks. */
  storedOf(value: Value): StoredForm | undefined;
  /** The blocks of an input that is stored so: an input of the model from then on. */
  blocksOf(value: Value): Name;
  /** Columns of the bfloat16 form that is there. */
  halfWidthOf(value: Value): number | undefined;
  /** Lowers a node unless that is done. */
  demand(node: Node): void;
  /** Whether the form is there already. */
  hasFloat(value: Value): boolean;
  hasHalf(value: Value): boolean;
  bind(value: Value, name: Name): void;
  bindHalf(value: Value, half: HalfMatrix): void;
  /** What `make` returned when first asked under this key. */
  once<T>(key: string, make: () => T): T;
  /** A name for a value that holds in keys of `once`. */
  idOf(value: Value): string;
  /** Emits a node of standard ONNX. */
  node(op: string, inputs: readonly Name[], attributes?: Record<string, Attribute>, numOutputs?: number): Name[];
  /** Emits a node of the runtime's own domain. */
  contrib(op: string, inputs: readonly Name[], attributes?: Record<string, Attribute>, numOutputs?: number): Name[];
  /** Emits a node of the native kernels. */
  native(
    op: string,
    inputs: readonly Name[],
    attributes: Record<string, Attribute>,
    outputs: readonly NativeOutput[],
  ): Name[];
  floats(shape: Shape, data: Float32Array): Name;
  ints(values: readonly number[], dtype?: 'int64' | 'int32'): Name;
  scalar(value: number): Name;
  /** A constant that is large and derived from `key` alone, made at most once. */
  cached(key: string, shape: Shape, make: () => Float32Array): Name;
}

export interface EmitterState extends Emitter {
  readonly nodes: OnnxNode[];
  readonly initializers: (OnnxTensorType & { readonly data: TypedArray })[];
  /** Types of what native nodes make: the runtime knows nothing of them otherwise. */
  readonly nativeTypes: Map<Name, NativeOutput>;
  /** Packed inputs with the inputs each is made of. */
  readonly packed: Map<Name, { readonly form: PackedForm; readonly sources: readonly Name[]; readonly shape: Shape }>;
  /** Inputs that are stored blocks, with the input whose they are. */
  readonly blocks: Map<Name, { readonly source: Name; readonly sizeBytes: number }>;
}

/** Names of inner tensors; the mark keeps them apart from a graph's own names. */
export const innerName = (kind: string, index: number): Name => `~${kind}_${index}`;

export const NATIVE_DOMAIN = 'azeotrope';

const NO_KERNELS: ReadonlySet<string> = new Set();
const NOTHING_FROZEN: ReadonlySet<string> = new Set();
const NOTHING_STORED: ReadonlyMap<string, StoredForm> = new Map();

/** `lower` emits the nodes of a graph node and binds its outputs: called for values that are asked for before they are bound. */
export function createEmitter(
  graph: Parameters<typeof createGraphView>[0],
  options: LoweringOptions,
  lower: (e: EmitterState, node: Node) => void,
): EmitterState {
  const view = createGraphView(graph);
  const names = new Map<Value, Name>();
  const halves = new Map<Value, HalfMatrix>();
  const nodes: OnnxNode[] = [];
  const initializers: (OnnxTensorType & { readonly data: TypedArray })[] = [];
  const nativeTypes: EmitterState['nativeTypes'] = new Map();
  const packed: EmitterState['packed'] = new Map();
  const blocks: EmitterState['blocks'] = new Map();
  const emitted = new Map<string, Name[]>();
  const constants = new Map<string, Name>();
  const memo = new Map<string, unknown>();
  const ids = new Map<Value, number>();
  let counter = 0;

  const emit = (
    domain: string,
    op: string,
    inputs: readonly Name[],
    attributes: Record<string, Attribute> = {},
    outputs: number | readonly NativeOutput[] = 1,
  ): Name[] => {
    const key = `${domain}:${op}(${inputs.join()})${JSON.stringify([attributes, outputs])}`;
    const known = emitted.get(key);
    if (known !== undefined) return known;
    const made =
      typeof outputs === 'number'
        ? Array.from({ length: outputs }, () => innerName(op, counter++))
        : outputs.map((output) => {
            const name = innerName(op, counter++);
            nativeTypes.set(name, output);
            return name;
          });
    nodes.push({ op, domain, inputs, outputs: made, attributes });
    emitted.set(key, made);
    return made;
  };

  const initializer = (key: string, dtype: Dtype, shape: Shape, make: () => TypedArray): Name => {
    const known = constants.get(key);
    if (known !== undefined) return known;
    const name = innerName('constant', counter++);
    initializers.push({ name, dtype, shape, data: make() });
    constants.set(key, name);
    return name;
  };

  /** Makes some form of a value exist. */
  const demandValue = (value: Value): void => {
    if (names.has(value) || halves.has(value)) return;
    const producer = view.producerOf(value);
    if (producer !== undefined) lower(self, producer);
    invariant(
      names.has(value) || halves.has(value),
      `value %${value.id} (${value.label ?? 'unlabelled'}) used before it is computed`,
    );
  };

  const self: EmitterState = {
    options: {
      numThreads: options.numThreads,
      precision: options.precision ?? 'float32',
      kernels: options.kernels ?? NO_KERNELS,
      constantWeights: options.constantWeights ?? false,
      rowsApart: options.rowsApart ?? false,
      frozen: options.frozen ?? NOTHING_FROZEN,
      stored: options.stored ?? NOTHING_STORED,
    },
    demand: (node) => lower(self, node),
    view,
    nodes,
    initializers,
    nativeTypes,
    packed,
    blocks,
    storedOf: (value) => (view.isInput(value) ? self.options.stored.get(names.get(value)!) : undefined),
    blocksOf(value) {
      const form = self.storedOf(value);
      invariant(form !== undefined, 'only inputs that are stored in blocks have such a form');
      const source = names.get(value)!;
      const name = `~blocks ${source}`;
      blocks.set(name, { source, sizeBytes: form.sizeBytes });
      return name;
    },
    packedOf(weights, form) {
      const sources = weights.map((weight) => names.get(weight)!);
      invariant(weights.every(view.isInput), 'only inputs have a packed form');
      const name = `~packed ${form} ${sources.join(' ')}`;
      packed.set(name, { form, sources, shape: packedShape({ form, shapes: weights.map(({ shape }) => shape) }) });
      return name;
    },
    isFrozen: (value) => view.isInput(value) && self.options.frozen.has(names.get(value)!),
    bind: (value, name) => void names.set(value, name),
    bindHalf: (value, half) => void halves.set(value, half),
    halfWidthOf: (value) => halves.get(value)?.width,
    hasFloat: (value) => names.has(value),
    hasHalf: (value) => halves.has(value),
    nameOf(value) {
      demandValue(value);
      const known = names.get(value);
      if (known !== undefined) return known;
      const { name, rows, width, offset, stride } = halves.get(value)!;
      const attributes = {
        rows: { int: rows },
        width: { int: width },
        offset: { int: offset },
        stride: { int: stride },
      };
      const flat = self.native('ToFloat', [name], attributes, [{ type: 'float32', shape: [rows, width] }])[0];
      const isFlat = sameShape(value.shape, [rows, width]);
      const made = isFlat ? flat : self.node('Reshape', [flat, self.ints(value.shape)])[0];
      names.set(value, made);
      return made;
    },
    halfOf(value, asked) {
      demandValue(value);
      const width = asked ?? matrixOf(value.shape).width;
      const known = halves.get(value);
      const seen = known && viewedHalf(known, width);
      if (seen !== undefined) return seen;
      const rows = sizeOf(value.shape) / width;
      const half = halfMatrix(rows, width);
      const attributes = { rows: { int: rows }, width: { int: width } };
      const [name] = self.native('ToHalf', [self.nameOf(value)], attributes, [half.output]);
      const made = half.named(name);
      if (known === undefined) halves.set(value, made);
      return made;
    },
    once<T>(key: string, make: () => T): T {
      if (!memo.has(key)) memo.set(key, make());
      return memo.get(key) as T;
    },
    idOf(value) {
      if (!ids.has(value)) ids.set(value, ids.size);
      return `${ids.get(value)}`;
    },
    node: (op, inputs, attributes, numOutputs) => emit('', op, inputs, attributes, numOutputs),
    contrib: (op, inputs, attributes, numOutputs) => emit('com.microsoft', op, inputs, attributes, numOutputs),
    native(op, inputs, attributes, outputs) {
      if (!self.options.kernels.has(op)) {
        throw new BackendError(
          `The library of kernels has no op ${op}: it is older than the program. Run \`node scripts/build-kernels.mjs\`.`,
        );
      }
      return emit(NATIVE_DOMAIN, op, inputs, attributes, outputs);
    },
    floats: (shape, data) => initializer(`floats ${counter}`, 'float32', shape, () => data),
    ints: (values, dtype = 'int64') =>
      initializer(`${dtype} ${values.join()}`, dtype, [values.length], () =>
        dtype === 'int64' ? BigInt64Array.from(values, BigInt) : Int32Array.from(values),
      ),
    scalar: (value) => initializer(`scalar ${value}`, 'float32', [], () => Float32Array.of(value)),
    cached: (key, shape, make) => initializer(`cached ${key}`, 'float32', shape, make),
  };
  return self;
}
