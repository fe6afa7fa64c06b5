/** An ONNX model as bytes. Field numbers: onnx.proto3 (IR version 9, opset 21, and the runtime's own `com.microsoft`). */
import type { Dtype, Shape, TypedArray } from '../graph/types.js';
import { bytesField, concatBytes, floatField, intField } from './protobuf.js';

export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly text: string };

export interface OnnxNode {
  readonly op: string;
  readonly domain: string;
  /** `''` stands for an optional input that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface OnnxTensorType {
  readonly name: string;
  readonly dtype: ElementType;
  readonly shape: Shape;
}

/** Element types of tensors, those that only native kernels exchange included. */
export type ElementType = Dtype | 'int8';

export interface OnnxModel {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxTensorType[];
  readonly outputs: readonly OnnxTensorType[];
  readonly initializers: readonly (OnnxTensorType & { readonly data: TypedArray })[];
  /** Types of inner tensors that the runtime cannot infer: without them it plans no sharing of memory. */
  readonly valueInfo: readonly { readonly name: string; readonly dtype: ElementType; readonly shape: Shape }[];
}

const ELEMENT_TYPES: Record<ElementType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  bfloat16: 16,
};
const IR_VERSION = 9;
const OPSETS: readonly (readonly [string, number])[] = [
  ['', 21],
  ['com.microsoft', 1],
  ['azeotrope', 1],
];

function writeAttribute(name: string, attribute: Attribute): Uint8Array {
  if ('int' in attribute) return concatBytes([bytesField(1, name), intField(3, attribute.int), intField(20, 2)]);
  if ('float' in attribute) return concatBytes([bytesField(1, name), floatField(2, attribute.float), intField(20, 1)]);
  if ('text' in attribute) return concatBytes([bytesField(1, name), bytesField(4, attribute.text), intField(20, 3)]);
  return concatBytes([bytesField(1, name), ...attribute.ints.map((value) => intField(8, value)), intField(20, 7)]);
}

function writeNode(node: OnnxNode): Uint8Array {
  return concatBytes([
    ...node.inputs.map((name) => bytesField(1, name)),
    ...node.outputs.map((name) => bytesField(2, name)),
    bytesField(4, node.op),
    ...Object.entries(node.attributes).map(([name, attribute]) => bytesField(5, writeAttribute(name, attribute))),
    ...(node.domain === '' ? [] : [bytesField(7, node.domain)]),
  ]);
}

function writeValueInfo({ name, dtype, shape }: OnnxModel['valueInfo'][number]): Uint8Array {
  const extents = concatBytes(shape.map((extent) => bytesField(1, intField(1, extent))));
  const tensorType = concatBytes([intField(1, ELEMENT_TYPES[dtype]), bytesField(2, extents)]);
  return concatBytes([bytesField(1, name), bytesField(2, bytesField(1, tensorType))]);
}

function writeInitializer({ name, dtype, shape, data }: OnnxModel['initializers'][number]): Uint8Array {
  return concatBytes([
    ...shape.map((extent) => intField(1, extent)),
    intField(2, ELEMENT_TYPES[dtype]),
    bytesField(8, name),
    bytesField(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

export function writeOnnxModel(model: OnnxModel): Uint8Array {
  const graph = concatBytes([
    ...model.nodes.map((node) => bytesField(1, writeNode(node))),
    bytesField(2, 'azeotrope'),
    ...model.initializers.map((tensor) => bytesField(5, writeInitializer(tensor))),
    ...model.inputs.map((input) => bytesField(11, writeValueInfo(input))),
    ...model.outputs.map((output) => bytesField(12, writeValueInfo(output))),
    ...model.valueInfo.map((value) => bytesField(13, writeValueInfo(value))),
  ]);
  const domains = new Set(model.nodes.map(({ domain }) => domain));
  const opsets = OPSETS.filter(([domain]) => domain !== 'azeotrope' || domains.has(domain)).map(([domain, version]) =>
    bytesField(8, concatBytes([bytesField(1, domain), intField(2, version)])),
  );
  return concatBytes([intField(1, IR_VERSION), bytesField(7, graph), ...opsets]);
}
