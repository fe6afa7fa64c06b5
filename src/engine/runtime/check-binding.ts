/** Do tensors fit a compiled graph? */
import { BackendError, ShapeError } from '../../support/errors.js';
import { describeType } from './element-types.js';
import type { HostTensor, TensorStore } from './tensor-store.js';
import type { CompiledModel, TensorMap } from './types.js';

/** A graph's tensors in the order of the model's declarations. */
export interface BoundTensors {
  readonly inputs: readonly NamedTensor[];
  readonly outputs: readonly NamedTensor[];
}

export interface NamedTensor {
  readonly name: string;
  readonly tensor: HostTensor;
}

/**
 * Checks that every input and output is there, none is unknown, dtypes and shapes are the declared ones, and that an output
 * writes to no memory that is read or written under another name, unless the graph declares the update in place.
 * Errors: ShapeError naming the tensor; BackendError for a tensor that is disposed of or of another runtime.
 */
export function checkTensors(
  store: TensorStore,
  model: CompiledModel,
  inputs: TensorMap,
  outputs: TensorMap,
): BoundTensors {
  const bound = {
    inputs: collect(store, 'input', model.inputs, inputs),
    outputs: collect(store, 'output', model.outputs, outputs),
  };
  checkOverlaps(model, bound);
  return bound;
}

/** Throws BackendError for the first tensor that was disposed of since it was bound. */
export function assertUsable(bound: BoundTensors): void {
  for (const { name, tensor } of [...bound.inputs, ...bound.outputs]) {
    if (!tensor.isUsable)
      throw new BackendError(`'${name}' was disposed of while it is bound: bind a live tensor in its place.`);
  }
}

function collect(store: TensorStore, role: string, declared: CompiledModel['inputs'], given: TensorMap): NamedTensor[] {
  const names = Object.keys(declared);
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(declared, name)) {
      throw new ShapeError(
        `The graph has no ${role} '${name}'; it has ${names.map((known) => `'${known}'`).join(', ') || 'none'}.`,
      );
    }
  }
  return names.map((name) => {
    const { dtype, shape } = declared[name];
    const expected = describeType(dtype, shape);
    if (!Object.hasOwn(given, name)) throw new ShapeError(`The ${role} '${name}' (${expected}) is not bound.`);
    const tensor = store.resolve(given[name], `The ${role} '${name}'`);
    const got = describeType(tensor.dtype, tensor.shape);
    if (got !== expected)
      throw new ShapeError(`The ${role} '${name}' is ${expected}, but the tensor bound to it is ${got}.`);
    return { name, tensor };
  });
}

interface Extent extends NamedTensor {
  readonly role: 'input' | 'output';
  readonly start: number;
  readonly end: number;
}

/** Sweeps each buffer's extents by address; only neighbours that overlap are compared. */
function checkOverlaps(model: CompiledModel, bound: BoundTensors): void {
  const byBuffer = new Map<ArrayBufferLike, Extent[]>();
  const add = (role: Extent['role'], { name, tensor }: NamedTensor): void => {
    const { buffer, byteOffset, byteLength } = tensor.memory;
    if (byteLength === 0) return;
    const extents = byBuffer.get(buffer) ?? [];
    byBuffer.set(buffer, extents);
    extents.push({ role, name, tensor, start: byteOffset, end: byteOffset + byteLength });
  };
  for (const input of bound.inputs) add('input', input);
  for (const output of bound.outputs) add('output', output);
  for (const extents of byBuffer.values()) {
    extents.sort((a, b) => a.start - b.start);
    for (let i = 0; i < extents.length; i++) {
      for (let j = i + 1; j < extents.length && extents[j].start < extents[i].end; j++)
        checkPair(model, extents[i], extents[j]);
    }
  }
}

function checkPair(model: CompiledModel, first: Extent, second: Extent): void {
  if (first.role === 'input' && second.role === 'input') return;
  const [output, other] = first.role === 'output' ? [first, second] : [second, first];
  const isSameMemory = output.start === other.start && output.end === other.end;
  if (isSameMemory && other.role === 'input' && model.outputs[output.name].inPlaceOf === other.name) return;
  throw new ShapeError(
    `The output '${output.name}' shares memory with the ${other.role} '${other.name}', ` +
      'and the graph does not declare that as an update in place: bind separate tensors.',
  );
}
