/** Element types a graph computes with. */
export type Dtype = 'float32' | 'int64' | 'int32' | 'bool';

/** Extents, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** Shape and element type of a value. */
export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}
