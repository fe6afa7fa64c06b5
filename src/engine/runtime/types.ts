/**
 * The device seen from above: memory and compiled graphs. Two implementations stand behind it (ONNX Runtime's C API through
 * a foreign-function interface; the stock Node binding) and one conformance suite holds both to this contract.
 */
import type { Dtype, Shape } from '../graph/types.js';
import type { Kernels } from './kernels-library.js';

export interface DtypeArrays {
  float32: Float32Array;
  int64: BigInt64Array;
  int32: Int32Array;
  bool: Uint8Array;
  /** The bits: the upper half of a float32. */
  bfloat16: Uint16Array;
  uint8: Uint8Array;
}

/**
 * A tensor in memory that this program owns. `data` is a live view: writing to it changes what the next run reads, and a run
 * that is bound to it changes `data`. Using a tensor after `dispose` throws.
 */
export interface Tensor<D extends Dtype = Dtype> {
  readonly dtype: D;
  readonly shape: Shape;
  readonly data: DtypeArrays[D];
  /**
   * Grows when the content may have changed: with every look at `data` and every run that writes the tensor. (Writing to an array
   * that was taken earlier is not seen: what is derived of a parameter stays as it was.)
   */
  readonly version: number;
  /** Of a tensor of `stored`: its values as they are stored, until its content may have changed. */
  readonly blocks?: StoredBlocks | undefined;
  /** Of a tensor of `stored` or `lazy`: writes its values, as long as they have not been made. */
  readonly read?: ((into: Float32Array) => void) | undefined;
  /** Frees the memory (views made of it become unusable). A second call does nothing. */
  dispose(): void;
}

/** Values in blocks of a file. */
export interface StoredBlocks {
  /** Number of the format, as kernels know it (kernels/ggml_formats.h). */
  readonly format: number;
  /** In the order of `block-layout.ts`. */
  readonly bytes: Tensor<'uint8'>;
}

/** A tensor to be made of blocks. */
export interface StoredSpec {
  readonly shape: Shape;
  readonly format: number;
  readonly sizeBytes: number;
  /** Writes the blocks row by row, as a file has them. */
  fill(bytes: Uint8Array): void;
  /** Writes the values that blocks, row by row, stand for. */
  read(bytes: Uint8Array, into: Float32Array): void;
}

/** Tensors by the name of the graph input or output. */
export type TensorMap = Readonly<Record<string, Tensor>>;

/** Inputs and outputs attached to a session once and run many times; changing `data` of a bound tensor is enough. */
export interface Binding {
  /**
   * Runs off the event loop (the stock binding: on a later turn of it, blocking that turn). Bindings of one runtime run one
   * after the other, in call order. A tensor disposed of after the call is freed when the run is over. Errors: BackendError.
   */
  run(): Promise<void>;
  /**
   * Runs and blocks; for tiny graphs where a turn of the event loop costs more than the work. It cannot overtake: while an
   * asynchronous run is pending it throws BackendError.
   */
  runSync(): void;
  /** Waits for nothing: pending runs finish first, then what the binding held is freed. A second call does nothing. */
  dispose(): void;
}

/** A compiled graph. */
export interface Session {
  /**
   * Attaches every input and every output. An output may be the same tensor as an input (update in place) if the graph
   * declares so. Shapes and dtypes are checked: ShapeError names the tensor.
   */
  bind(inputs: TensorMap, outputs: TensorMap): Binding;
  /** No further `bind`. Existing bindings still run: the compiled graph is freed with the last of them. */
  dispose(): void;
}

/**
 * A form in which kernels read weights [O_i, I]. For decoding (kernels/decode_pack_half.c): one weight (`bytes`: in 8 bits,
 * where its layer's tangent alone is computed), or a direction that a weight moves along. For training (kernels/linear_half.c): the operand of x·Wᵀ or that of dy·W, of weights stacked or interleaved.
 */
export type PackedForm = 'weight' | 'bytes' | 'direction' | `${'stacked' | 'interleaved'} ${'forward' | 'backward'}`;

/** The inputs that an input is made of, and the form it has. */
export interface PackedInput {
  readonly sources: readonly string[];
  readonly form: PackedForm;
}

/** What a compiled graph takes and gives, and its serialised form. */
export interface CompiledModel {
  /** ONNX protobuf. */
  readonly bytes: Uint8Array;
  readonly inputs: Readonly<Record<string, { dtype: Dtype; shape: Shape }>>;
  readonly outputs: Readonly<Record<string, { dtype: Dtype; shape: Shape; inPlaceOf: string | undefined }>>;
  /** Inputs that are a packed form of another input; none if absent. */
  readonly packed?: Readonly<Record<string, PackedInput>>;
  /** Inputs that are the stored blocks of an input of the graph, with its name; none if absent. */
  readonly blocks?: Readonly<Record<string, string>>;
}

export type RuntimeKind = 'c-api' | 'stock';

/** How far the compiler may rewrite a graph. Lower it to see the nodes that were written. */
export type GraphOptimization = 'all' | 'extended' | 'basic' | 'none';

export interface SessionOptions {
  /** Default: 'all'. */
  readonly optimization?: GraphOptimization | undefined;
  /**
   * Plan the scratch memory of a run as one block (default false): up to a tenth faster where the block is small, but each shape
   * takes a block as large as its run beside what the arena holds. Only the C API knows it.
   */
  readonly plannedMemory?: boolean | undefined;
}

export interface Runtime {
  readonly kind: RuntimeKind;
  /** Why the preferred implementation is not the one in use, if so. */
  readonly fallbackReason: string | undefined;
  /** Version of ONNX Runtime. */
  readonly version: string;
  /** Native kernels that graphs may be lowered to. */
  readonly kernels: Kernels;
  /** Threads one run may use; fixed for the life of the runtime. */
  readonly numThreads: number;
  /** Allocates 64-byte-aligned memory: zeroed, or filled with `data` (copied; its length must equal the shape's size). */
  tensor<D extends Dtype>(dtype: D, shape: Shape, data?: DtypeArrays[D] | ArrayLike<number>): Tensor<D>;
  /**
   * A tensor on a contiguous part of another's memory, starting `offset` elements in. It shares, never owns: disposing of it
   * frees nothing, disposing of the base makes it unusable.
   */
  view<D extends Dtype>(base: Tensor<D>, offset: number, shape: Shape): Tensor<D>;
  /** A tensor on memory that the caller keeps alive (a mapped or loaded file), not copied where the binding allows. */
  adopt<D extends Dtype>(dtype: D, shape: Shape, data: DtypeArrays[D]): Tensor<D>;
  /**
   * Tensors that are kept as stored blocks, in one piece of memory: their values take memory of their own from when something first
   * asks for them (`data`, or a graph that reads them as float32). Packing asks `read` alone, as of `lazy`.
   */
  stored(specs: readonly StoredSpec[]): Tensor<'float32'>[];
  /**
   * A tensor whose values `read` writes, into memory of its own, when something first asks for them. Packing asks `read` alone, with
   * memory that it soon gives back.
   */
  lazy(shape: Shape, read: (into: Float32Array) => void): Tensor<'float32'>;
  /** Compiles. Takes 5–500 ms; keep sessions (`SessionCache`). Errors: BackendError with the runtime's words. */
  session(model: CompiledModel, options?: SessionOptions): Session;
  /** Bytes of tensor memory now owned: views and adopted memory count nothing. */
  readonly ownedBytes: number;
  /** Frees every tensor, session and binding after the pending runs. A second call does nothing. */
  dispose(): void;
}
