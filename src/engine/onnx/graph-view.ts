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
  /** Whether the value is an input of the graph. */
  isInput(value: Value): boolean;
}

export function createGraphView(graph: Pick<Graph, 'nodes' | 'outputs' | 'inputs'>): GraphView {
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
  const inputs = new Set(graph.inputs.map(({ value }) => value));
  const consumersOf = (value: Value): readonly Node[] => consumers.get(value) ?? [];
  return {
    producerOf: (value) => producers.get(value),
    consumersOf,
    isOutput: (value) => outputs.has(value),
    isUsed: (value) => outputs.has(value) || consumers.has(value),
    isReadOnce: (value) => !outputs.has(value) && consumersOf(value).length === 1,
    isInput: (value) => inputs.has(value),
  };
}
