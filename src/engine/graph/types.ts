/** What a graph is made of. A graph is data: values, and nodes that compute values from values; shapes are static. */
import type { OpKind, OpParams } from './catalogue.js';
import type { Dtype, Shape, TensorType } from './tensor-type.js';

export type { Dtype, Shape, TensorType };

/** One tensor in a graph: an input, a constant or the result of a node. Identity is by object. */
export interface Value extends TensorType {
  readonly id: number;
  /** Why the value is there, for the printer. */
  readonly label: string | undefined;
}

export type TypedArray = Float32Array | BigInt64Array | Int32Array | Uint8Array;

/** A value whose content is known when the graph is built. */
export interface Constant {
  readonly value: Value;
  readonly data: TypedArray;
}

/** One application of an op of the catalogue. */
export interface Node<K extends OpKind = OpKind> {
  readonly kind: K;
  readonly params: OpParams[K];
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

export interface GraphInput {
  readonly name: string;
  readonly value: Value;
}

export interface GraphOutput {
  readonly name: string;
  readonly value: Value;
  /** Name of the input whose memory this output may overwrite (updated in place), if any. */
  readonly inPlaceOf: string | undefined;
}

/** A finished graph: nodes in an order in which every node follows the nodes it reads. */
export interface Graph {
  readonly inputs: readonly GraphInput[];
  readonly outputs: readonly GraphOutput[];
  readonly constants: readonly Constant[];
  readonly nodes: readonly Node[];
}
