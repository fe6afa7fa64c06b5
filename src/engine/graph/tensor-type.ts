/** Element types a graph computes with; bfloat16 is one that only native kernels read, and is kept as its bits. */
export type Dtype = 'float32' | 'int64' | 'int32' | 'bool' | 'bfloat16';

/** Extents, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** Shape and element type of a value. */
export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}
