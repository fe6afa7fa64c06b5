/** Tiny ONNX models for tests, written with the least protobuf there is: enough to be independent of the product's writer. */
import type { Dtype, Shape } from '../graph/types.js';
import type { CompiledModel } from './types.js';

const CODES: Record<Dtype, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, bfloat16: 16 };

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

function int(field: number, value: number): number[] {
  return [...varint(field * 8), ...varint(value)];
}

function bytes(field: number, content: string | number[]): number[] {
  const body = typeof content === 'string' ? [...Buffer.from(content)] : content;
  return [...varint(field * 8 + 2), ...varint(body.length), ...body];
}

function valueInfo(name: string, dtype: Dtype, shape: Shape): number[] {
  const dims = shape.flatMap((extent) => bytes(1, int(1, extent)));
  return [...bytes(1, name), ...bytes(2, bytes(1, [...int(1, CODES[dtype]), ...bytes(2, dims)]))];
}

export type Declaration = readonly [dtype: Dtype, shape: Shape, inPlaceOf?: string];
/** [op, inputs, outputs] */
export type NodeSketch = readonly [op: string, inputs: readonly string[], outputs: readonly string[]];

export function onnxModel(
  inputs: Readonly<Record<string, Declaration>>,
  outputs: Readonly<Record<string, Declaration>>,
  nodes: readonly NodeSketch[],
): CompiledModel {
  const graph = [
    ...nodes.flatMap(([op, from, to]) =>
      bytes(1, [...from.flatMap((name) => bytes(1, name)), ...to.flatMap((name) => bytes(2, name)), ...bytes(4, op)]),
    ),
    ...bytes(2, 'test'),
    ...Object.entries(inputs).flatMap(([name, [dtype, shape]]) => bytes(11, valueInfo(name, dtype, shape))),
    ...Object.entries(outputs).flatMap(([name, [dtype, shape]]) => bytes(12, valueInfo(name, dtype, shape))),
  ];
  const opset = [...bytes(1, ''), ...int(2, 21)];
  const declare = ([name, [dtype, shape, inPlaceOf]]: [string, Declaration]) =>
    [name, { dtype, shape, inPlaceOf }] as const;
  return {
    bytes: Uint8Array.from([...int(1, 9), ...bytes(7, graph), ...bytes(8, opset)]),
    inputs: Object.fromEntries(Object.entries(inputs).map(([name, [dtype, shape]]) => [name, { dtype, shape }])),
    outputs: Object.fromEntries(Object.entries(outputs).map(declare)),
  };
}

/** y = x + x */
export const doubling = (shape: Shape) =>
  onnxModel({ x: ['float32', shape] }, { y: ['float32', shape] }, [['Add', ['x', 'x'], ['y']]]);

/** next = state + step, where next may be state */
export const accumulating = onnxModel(
  { state: ['float32', [3]], step: ['float32', [3]] },
  { next: ['float32', [3], 'state'] },
  [['Add', ['state', 'step'], ['next']]],
);

/** y = x·x·…·x (n products): long enough to be seen */
export function squaring(n: number, repeats: number): CompiledModel {
  const names = Array.from({ length: repeats + 1 }, (_, i) => (i === 0 ? 'x' : i === repeats ? 'y' : `h${i}`));
  const nodes = names.slice(1).map((name, i) => ['MatMul', [names[i], 'x'], [name]] as const);
  return onnxModel({ x: ['float32', [n, n]] }, { y: ['float32', [n, n]] }, nodes);
}

export const identity = (dtype: Dtype, shape: Shape) =>
  onnxModel({ x: [dtype, shape] }, { y: [dtype, shape] }, [['Identity', ['x'], ['y']]]);
