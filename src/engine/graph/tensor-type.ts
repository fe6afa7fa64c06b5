/** Element types a graph computes with. Only native kernels read bfloat16, which is kept as its bits, and uint8, bytes of other formats. */
export type Dtype = 'float32' | 'int64' | 'int32' | 'bool' | 'bfloat16' | 'uint8';

/** Extents, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** Shape and element type of a value. */
export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}
