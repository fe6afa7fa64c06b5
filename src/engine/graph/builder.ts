/** Collects nodes into a graph. Values are only made here, so a finished graph is in dependency order by construction. */
import { invariant, ShapeError } from '../../support/errors.js';
import type { OpKind, OpParams } from './catalogue.js';
import { formatType, sameShape, shapeRules, sizeOf } from './shape-rules.js';
import type { Constant, Dtype, Graph, GraphInput, GraphOutput, Node, Shape, TypedArray, Value } from './types.js';

export interface GraphBuilder {
  /** Declares an input. Names of inputs and outputs are unique together. */
  input(name: string, dtype: Dtype, shape: Shape): Value;
  /** A value known now. Constants of the same content are kept once. */
  constant(dtype: Dtype, shape: Shape, data: TypedArray): Value;
  /** Applies an op. Errors: ShapeError naming the op. */
  apply<K extends OpKind>(kind: K, inputs: readonly Value[], params: OpParams[K], label?: string): readonly Value[];
  /** Declares an output; `inPlaceOf` names the input whose memory it may overwrite. */
  output(name: string, value: Value, options?: { inPlaceOf?: string }): void;
  /** Nodes so far, in order; differentiation walks them. */
  readonly nodes: readonly Node[];
  finish(): Graph;
}

const SHARED_CONSTANT_LIMIT = 64;

export function createGraphBuilder(): GraphBuilder {
  const inputs: GraphInput[] = [];
  const outputs: GraphOutput[] = [];
  const constants: Constant[] = [];
  const nodes: Node[] = [];
  const small = new Map<string, Value>();
  let numValues = 0;

  const newValue = (dtype: Dtype, shape: Shape, label?: string): Value => ({ id: numValues++, dtype, shape, label });

  return {
    nodes,
    input(name, dtype, shape) {
      invariant(!inputs.some((input) => input.name === name), `input '${name}' declared twice`);
      const value = newValue(dtype, shape, name);
      inputs.push({ name, value });
      return value;
    },
    constant(dtype, shape, data) {
      if (data.length !== sizeOf(shape)) {
        throw new ShapeError(`a constant of [${shape.join(', ')}] needs ${sizeOf(shape)} elements, got ${data.length}`);
      }
      const key = data.length <= SHARED_CONSTANT_LIMIT ? `${dtype}[${shape.join()}]${data.join()}` : undefined;
      const known = key === undefined ? undefined : small.get(key);
      if (known !== undefined) return known;
      const value = newValue(dtype, shape);
      constants.push({ value, data });
      if (key !== undefined) small.set(key, value);
      return value;
    },
    apply(kind, operands, params, label) {
      let types: readonly { dtype: Dtype; shape: Shape }[];
      try {
        types = shapeRules[kind](operands, params);
      } catch (error) {
        if (error instanceof ShapeError) throw new ShapeError(`${kind}${label ? ` (${label})` : ''}: ${error.message}`);
        throw error;
      }
      const results = types.map(({ dtype, shape }) => newValue(dtype, shape, label));
      nodes.push({ kind, params, inputs: operands, outputs: results } as Node);
      return results;
    },
    output(name, value, options = {}) {
      invariant(!outputs.some((output) => output.name === name), `output '${name}' declared twice`);
      invariant(!inputs.some((input) => input.name === name), `output '${name}' has the name of an input`);
      const { inPlaceOf } = options;
      if (inPlaceOf !== undefined) {
        const target = inputs.find((input) => input.name === inPlaceOf)?.value;
        invariant(target !== undefined, `output '${name}' overwrites unknown input '${inPlaceOf}'`);
        invariant(
          target.dtype === value.dtype && sameShape(target.shape, value.shape),
          `output '${name}' ${formatType(value)} cannot overwrite '${inPlaceOf}' ${formatType(target)}`,
        );
      }
      outputs.push({ name, value, inPlaceOf });
    },
    finish: () => ({ inputs, outputs, constants, nodes: liveNodes(nodes, outputs) }),
  };
}

/** Nodes that some output depends on. */
function liveNodes(nodes: readonly Node[], outputs: readonly GraphOutput[]): Node[] {
  const needed = new Set(outputs.map((output) => output.value));
  const live = [...nodes].reverse().filter((node) => {
    if (!node.outputs.some((value) => needed.has(value))) return false;
    for (const value of node.inputs) needed.add(value);
    return true;
  });
  return live.reverse();
}
