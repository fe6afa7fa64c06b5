/** The tensors of one runtime: who owns which memory, and how much. */
import { BackendError, ShapeError } from '../../support/errors.js';
import type { Dtype, Shape } from '../graph/types.js';
import { groupRows, ungroupRows } from './block-layout.js';
import { describeType, ELEMENT_TYPES, numElements } from './element-types.js';
import { ALIGNMENT_BYTES, type Allocate, type Memory } from './memory.js';
import type { DtypeArrays, StoredBlocks, StoredSpec, Tensor } from './types.js';

/** A tensor of this folder; `store` tells tensors of different runtimes apart. */
export class HostTensor<D extends Dtype = Dtype> implements Tensor<D> {
  #data: DtypeArrays[D] | (() => DtypeArrays[D]) | undefined;
  #version = 0;
  readonly #onDispose: ((tensor: HostTensor) => void) | undefined;
  readonly #blocks: StoredBlocks | undefined;
  readonly #read: ((into: Float32Array) => void) | undefined;

  constructor(
    readonly store: TensorStore,
    readonly dtype: D,
    readonly shape: Shape,
    /** A function: asked when something first wants the values. */
    data: DtypeArrays[D] | (() => DtypeArrays[D]),
    /** The tensor whose memory a view lies in. */
    readonly base: HostTensor | undefined,
    onDispose?: (tensor: HostTensor) => void,
    made?: { blocks?: StoredBlocks; read?: (into: Float32Array) => void },
  ) {
    this.#data = data;
    this.#onDispose = onDispose;
    this.#blocks = made?.blocks;
    this.#read = made?.read;
  }

  get isUsable(): boolean {
    return this.#data !== undefined && (this.base === undefined || this.base.isUsable);
  }

  get version(): number {
    return (this.base ?? this).#version;
  }

  get blocks(): StoredBlocks | undefined {
    return this.#version === 0 ? this.#blocks : undefined;
  }

  get read(): ((into: Float32Array) => void) | undefined {
    return typeof this.#data === 'function' ? this.#read : undefined;
  }

  /** Notes that the content may have changed. */
  touch(): void {
    (this.base ?? this).#version += 1;
  }

  get data(): DtypeArrays[D] {
    this.touch();
    return this.memory;
  }

  /** The same as `data`, for those who do not write. */
  get memory(): DtypeArrays[D] {
    if (this.#data === undefined || !this.isUsable) {
      throw new BackendError(`A tensor ${describeType(this.dtype, this.shape)} was used after dispose().`);
    }
    if (typeof this.#data === 'function') this.#data = this.#data();
    return this.#data;
  }

  dispose(): void {
    if (this.#data === undefined) return;
    this.#data = undefined;
    this.store.disposals += 1;
    this.#onDispose?.(this);
  }
}

/** Makes tensors and frees them; `afterRuns` postpones what native code may still be reading. */
export class TensorStore {
  /** Bytes in tensors that are not disposed of. */
  ownedBytes = 0;
  /** Grows with every dispose: bindings look again whether their tensors live only when it has changed. */
  disposals = 0;
  readonly #owned = new Map<HostTensor, Memory>();
  readonly #allocate: Allocate;
  readonly #afterRuns: (action: () => void) => void;

  constructor(allocate: Allocate, afterRuns: (action: () => void) => void) {
    this.#allocate = allocate;
    this.#afterRuns = afterRuns;
  }

  create<D extends Dtype>(dtype: D, shape: Shape, data?: DtypeArrays[D] | ArrayLike<number>): Tensor<D> {
    const count = numElements(shape);
    if (data !== undefined && data.length !== count) throw lengthError('data', dtype, shape, data.length);
    const { sizeBytes, ArrayType } = ELEMENT_TYPES[dtype];
    const memory = this.#allocate(count * sizeBytes);
    const array = new ArrayType(memory.buffer, memory.byteOffset, count);
    if (data !== undefined) copyInto(array, data);
    const tensor = new HostTensor(this, dtype, [...shape], array, undefined, (owner) => this.#free(owner));
    this.#owned.set(tensor, memory);
    this.ownedBytes += count * sizeBytes;
    return tensor;
  }

  view<D extends Dtype>(base: Tensor<D>, offset: number, shape: Shape): Tensor<D> {
    const source = this.resolve(base, 'the base of a view');
    const count = numElements(shape);
    const { length, buffer, byteOffset } = source.memory;
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + count > length) {
      throw new ShapeError(
        `A view ${describeType(base.dtype, shape)} at element ${offset} does not lie inside its base ` +
          `${describeType(base.dtype, base.shape)} of ${length} elements.`,
      );
    }
    const { sizeBytes, ArrayType } = ELEMENT_TYPES[base.dtype];
    const array = new ArrayType(buffer, byteOffset + offset * sizeBytes, count);
    return new HostTensor(this, base.dtype, [...shape], array, source.base ?? source);
  }

  /** See `Runtime.stored`. */
  createStored(specs: readonly StoredSpec[]): Tensor<'float32'>[] {
    const room = ({ sizeBytes }: StoredSpec): number => Math.ceil(sizeBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    const block = this.create('uint8', [specs.reduce((sum, spec) => sum + room(spec), 0)]);
    let start = 0;
    try {
      const parts = specs.map((spec) => {
        const bytes = this.view(block, start, [spec.sizeBytes]);
        start += room(spec);
        spec.fill(bytes.data);
        groupRows(bytes.data, spec.format, spec.shape[0]);
        return { spec, bytes };
      });
      let numLeft = parts.length;
      return parts.map(({ spec, bytes }) =>
        this.#storedTensor(spec, bytes, () => {
          numLeft -= 1;
          if (numLeft === 0) block.dispose();
        }),
      );
    } catch (error) {
      block.dispose();
      throw error;
    }
  }

  #storedTensor(spec: StoredSpec, bytes: Tensor<'uint8'>, onDispose: () => void): Tensor<'float32'> {
    const read = (into: Float32Array): void => {
      const { memory } = this.resolve(bytes, 'a tensor of stored blocks');
      spec.read(ungroupRows(memory as Uint8Array, spec.format, spec.shape[0]), into);
    };
    return this.#lateTensor(spec.shape, read, { made: { blocks: { format: spec.format, bytes }, read }, onDispose });
  }

  /** See `Runtime.lazy`. */
  createLazy(shape: Shape, read: (into: Float32Array) => void): Tensor<'float32'> {
    return this.#lateTensor(shape, read, { made: { read }, onDispose: () => {} });
  }

  /** A tensor that takes memory when something first asks for its values. */
  #lateTensor(
    shape: Shape,
    read: (into: Float32Array) => void,
    { made, onDispose }: { made: ConstructorParameters<typeof HostTensor>[6]; onDispose: () => void },
  ): Tensor<'float32'> {
    const count = numElements(shape);
    const materialize = (): Float32Array => {
      const memory = this.#allocate(count * ELEMENT_TYPES.float32.sizeBytes);
      const values = new Float32Array(memory.buffer, memory.byteOffset, count);
      read(values);
      this.#owned.set(tensor, memory);
      this.ownedBytes += count * ELEMENT_TYPES.float32.sizeBytes;
      return values;
    };
    const dispose = (owner: HostTensor): void => {
      this.#free(owner);
      onDispose();
    };
    const tensor: HostTensor = new HostTensor(this, 'float32', [...shape], materialize, undefined, dispose, made);
    return tensor as Tensor<'float32'>;
  }

  adopt<D extends Dtype>(dtype: D, shape: Shape, data: DtypeArrays[D]): Tensor<D> {
    if (!(data instanceof ELEMENT_TYPES[dtype].ArrayType)) {
      throw new ShapeError(`A ${dtype} tensor cannot adopt an array of another element type.`);
    }
    if (data.buffer instanceof SharedArrayBuffer) {
      // The stock binding refuses it, and what runs on one implementation has to run on the other.
      throw new BackendError(`A tensor cannot adopt shared memory: pass a copy (${describeType(dtype, shape)}).`);
    }
    if (data.length !== numElements(shape)) throw lengthError('adopted data', dtype, shape, data.length);
    return new HostTensor(this, dtype, [...shape], data, undefined);
  }

  /** The tensor behind the interface; `where` names it in errors. BackendError if it is another runtime's or disposed of. */
  resolve(tensor: Tensor, where: string): HostTensor {
    if (!(tensor instanceof HostTensor) || tensor.store !== this) {
      throw new BackendError(
        `${where} is no tensor of this runtime: make it with the tensor, view or adopt of the same runtime.`,
      );
    }
    if (!tensor.isUsable) throw new BackendError(`${where} was used after dispose().`);
    return tensor;
  }

  disposeAll(): void {
    for (const tensor of [...this.#owned.keys()]) tensor.dispose();
  }

  #free(tensor: HostTensor): void {
    const memory = this.#owned.get(tensor);
    if (memory === undefined) return;
    this.#owned.delete(tensor);
    this.ownedBytes -= numElements(tensor.shape) * ELEMENT_TYPES[tensor.dtype].sizeBytes;
    this.#afterRuns(() => memory.free());
  }
}

function copyInto(target: DtypeArrays[Dtype], data: DtypeArrays[Dtype] | ArrayLike<number>): void {
  if (target instanceof BigInt64Array) {
    if (data instanceof BigInt64Array) target.set(data);
    else for (let i = 0; i < data.length; i++) target[i] = BigInt(data[i]);
  } else {
    target.set(data as ArrayLike<number>);
  }
}

function lengthError(what: string, dtype: Dtype, shape: Shape, length: number): ShapeError {
  return new ShapeError(
    `${what} has ${length} elements, but ${describeType(dtype, shape)} needs ${numElements(shape)}.`,
  );
}
