/** Who makes and who reads each value of a graph. */
import type { Graph, Node, Value } from '../graph/types.js';

export interface GraphView {
  /** The node that makes a value; undefined for inputs and constants. */
  producerOf(value: Value): Node | undefined;
  /** Nodes that read a value, in order; one that reads it twice is there twice. */
  consumersOf(value: Value): readonly Node[];
  /** Whether the value is an output of the graph. */
  isOutput(value: Value): boolean;
  /** Whether anything reads the value, a caller of the graph included. */
  isUsed(value: Value): boolean;
  /** Whether one node reads the value, once, and the graph does not give it out. */
  isReadOnce(value: Value): boolean;
  /** The number that a scalar is in every run, where that is known. */
  constantOf(value: Value): number | undefined;
  /** Whether the value is an input of the graph. */
  isInput(value: Value): boolean;
}

export function createGraphView(graph: Graph): GraphView {
  const producers = new Map<Value, Node>();
  const consumers = new Map<Value, Node[]>();
  for (const node of graph.nodes) {
    for (const value of node.outputs) producers.set(value, node);
    for (const value of node.inputs) {
      const known = consumers.get(value);
      if (known === undefined) consumers.set(value, [node]);
      else known.push(node);
    }
  }
  const outputs = new Set(graph.outputs.map(({ value }) => value));
  const constants = new Map(graph.constants.map(({ value, data }) => [value, data]));
  const inputs = new Set(graph.inputs.map(({ value }) => value));
  const consumersOf = (value: Value): readonly Node[] => consumers.get(value) ?? [];
  return {
    producerOf: (value) => producers.get(value),
    consumersOf,
    isOutput: (value) => outputs.has(value),
    isUsed: (value) => outputs.has(value) || consumers.has(value),
    isReadOnce: (value) => !outputs.has(value) && consumersOf(value).length === 1,
    constantOf(value) {
      const node = producers.get(value);
      if (node?.kind === 'fill') return (node as Node<'fill'>).params.value;
      const data = constants.get(value);
      return data?.length === 1 ? Number(data[0]) : undefined;
    },
    isInput: (value) => inputs.has(value),
  };
}
