/** A graph as text, one node a line: `%7 f32[32, 128] = linear(%3, %embed)`. */
import type { Graph, Value } from './types.js';

const short: Record<Value['dtype'], string> = {
  float32: 'f32',
  int64: 'i64',
  int32: 'i32',
  bool: 'bool',
  bfloat16: 'bf16',
  uint8: 'u8',
};

export function printGraph(graph: Graph): string {
  const names = new Map<Value, string>(graph.inputs.map(({ name, value }) => [value, `%${name}`]));
  const nameOf = (value: Value): string => names.get(value) ?? `%${value.id}`;
  const typed = (value: Value): string => `${nameOf(value)} ${short[value.dtype]}[${value.shape.join(', ')}]`;

  const lines = [`graph (${graph.inputs.map(({ value }) => typed(value)).join(', ')})`];
  for (const { value, data } of graph.constants) {
    const content = data.length <= 8 ? `[${data.join(', ')}]` : `${data.length} elements`;
    lines.push(`  ${typed(value)} = constant ${content}`);
  }
  for (const node of graph.nodes) {
    const params = Object.entries(node.params).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    const call = `${node.kind}(${[...node.inputs.map(nameOf), ...params].join(', ')})`;
    const label = node.outputs[0].label;
    lines.push(`  ${node.outputs.map(typed).join(', ')} = ${call}${label ? `  # ${label}` : ''}`);
  }
  for (const { name, value, inPlaceOf } of graph.outputs) {
    lines.push(`  return ${name} = ${nameOf(value)}${inPlaceOf ? ` (over ${inPlaceOf})` : ''}`);
  }
  return lines.join('\n');
}
