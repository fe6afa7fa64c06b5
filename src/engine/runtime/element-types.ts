/** Element types as memory sees them. */
import { ShapeError } from '../../support/errors.js';
import type { Dtype, Shape } from '../graph/types.js';
import type { DtypeArrays } from './types.js';

interface ElementType<D extends Dtype> {
  readonly sizeBytes: number;
  /** ONNXTensorElementDataType of the C API. */
  readonly onnxCode: number;
  readonly ArrayType: {
    new (buffer: ArrayBufferLike, byteOffset: number, length: number): DtypeArrays[D];
  };
}

export const ELEMENT_TYPES: { readonly [D in Dtype]: ElementType<D> } = {
  float32: { sizeBytes: 4, onnxCode: 1, ArrayType: Float32Array },
  int32: { sizeBytes: 4, onnxCode: 6, ArrayType: Int32Array },
  int64: { sizeBytes: 8, onnxCode: 7, ArrayType: BigInt64Array },
  bool: { sizeBytes: 1, onnxCode: 9, ArrayType: Uint8Array },
  bfloat16: { sizeBytes: 2, onnxCode: 16, ArrayType: Uint16Array },
  uint8: { sizeBytes: 1, onnxCode: 2, ArrayType: Uint8Array },
};

/** Product of the extents; 1 for a scalar. ShapeError for an extent that is no count, or a product beyond 2^53. */
export function numElements(shape: Shape): number {
  let product = 1;
  for (const extent of shape) {
    product *= extent;
    if (!Number.isSafeInteger(extent) || extent < 0 || !Number.isSafeInteger(product)) {
      throw new ShapeError(
        `[${shape.join(', ')}] is not a shape: extents are non-negative integers and their product is below 2^53.`,
      );
    }
  }
  return product;
}

/** `float32 [2, 3]`, for messages. */
export function describeType(dtype: Dtype, shape: Shape): string {
  return `${dtype} [${shape.join(', ')}]`;
}
