/** A graph as an ONNX model that the runtime can load. */
import type { OpKind } from '../graph/catalogue.js';
import type { Graph, Node } from '../graph/types.js';
import type { CompiledModel } from '../runtime/types.js';
import {
  createEmitter,
  type EmitterState,
  innerName,
  type LoweringOptions,
  NATIVE_DOMAIN,
  type Name,
} from './emitter.js';
import { type Lowering, loweringTable } from './lowering-table.js';
import { type OnnxNode, writeOnnxModel } from './model-writer.js';
import { decodeLoweringTable, floatDecodeLoweringTable } from './native/decode.js';
import type { NativeLowering } from './native/lowering.js';
import { deferredKinds, nativeLoweringTable } from './native-lowering-table.js';

export function compileGraph(graph: Graph, options: LoweringOptions): CompiledModel {
  const emitter = createEmitter(graph, options, lowerOnce());
  const { initializers } = emitter;
  for (const { name, value } of graph.inputs) emitter.bind(value, name);
  graph.constants.forEach(({ value, data }, index) => {
    const name = innerName('given', index);
    initializers.push({ name, dtype: value.dtype, shape: value.shape, data });
    emitter.bind(value, name);
  });
  const { kernels, constantWeights } = emitter.options;
  const isDeferred = ({ kind }: Node) => constantWeights || (kernels.size > 0 && deferredKinds.has(kind));
  for (const node of graph.nodes) if (!isDeferred(node)) emitter.demand(node);
  const named = liveNodes(
    nameOutputs(graph, emitter),
    graph.outputs.map(({ name }) => name),
  );
  const blocks = [...emitter.blocks];
  const used = new Set([...named.flatMap((node) => node.inputs), ...graph.outputs.map(({ name }) => name)]);
  const packed = [...emitter.packed].filter(([name]) => used.has(name));
  // What is read in another form alone is no input, nor what nothing reads of weights: their values need not exist.
  const inputs = [
    ...graph.inputs
      .filter(({ name }) => used.has(name) || !constantWeights)
      .map(({ name, value }) => ({ name, dtype: value.dtype, shape: value.shape })),
    ...packed.map(([name, { shape }]) => ({ name, dtype: 'bfloat16', shape }) as const),
    ...blocks.map(([name, { sizeBytes }]) => ({ name, dtype: 'uint8', shape: [sizeBytes] }) as const),
  ];
  const bytes = writeOnnxModel({
    nodes: named.map((node) => (node.domain === NATIVE_DOMAIN ? withoutUnused(node, emitter, used) : node)),
    inputs,
    outputs: graph.outputs.map(({ name, value }) => ({ name, dtype: value.dtype, shape: value.shape })),
    initializers: initializers.filter(({ name }) => used.has(name)),
    valueInfo: [...emitter.nativeTypes].flatMap(([name, { type, shape }]) =>
      used.has(name) ? [{ name, dtype: type, shape }] : [],
    ),
  });
  return {
    bytes,
    inputs: Object.fromEntries(inputs.map(({ name, ...type }) => [name, type])),
    packed: Object.fromEntries(packed.map(([name, { form, sources }]) => [name, { form, sources }])),
    blocks: Object.fromEntries(blocks.map(([name, { source }]) => [name, source])),
    outputs: Object.fromEntries(
      graph.outputs.map(({ name, value, inPlaceOf }) => [name, { dtype: value.dtype, shape: value.shape, inPlaceOf }]),
    ),
  };
}

/** A native node without the optional outputs that nothing reads: they have no name, and no bit in `wanted`. */
function withoutUnused(node: OnnxNode, { nativeTypes }: EmitterState, used: ReadonlySet<Name>): OnnxNode {
  const isWanted = (name: Name): boolean => used.has(name) || nativeTypes.get(name)?.isOptional !== true;
  if (node.outputs.every(isWanted)) return node;
  const outputs = node.outputs.map((name) => (isWanted(name) ? name : ''));
  const wanted = outputs.reduce((bits, name, index) => (name === '' ? bits : bits + 2 ** index), 0);
  return { ...node, outputs, attributes: { ...node.attributes, wanted: { int: wanted } } };
}

/** Lowers a node when first asked: by native kernels where there are any for it, else by the composite. */
function lowerOnce(): (e: EmitterState, node: Node) => void {
  const lowered = new Set<Node>();
  return (e, node) => {
    if (lowered.has(node)) return;
    lowered.add(node);
    const candidates = candidatesFor(e, node.kind);
    if (candidates.some((native) => (native as NativeLowering<OpKind>)(e, node))) return;
    const lower = loweringTable[node.kind] as Lowering<OpKind>;
    lower(e, node).forEach((name, index) => {
      e.bind(node.outputs[index], name);
    });
  };
}

function candidatesFor({ options }: EmitterState, kind: OpKind): readonly unknown[] {
  if (options.kernels.size === 0) return [];
  const decoding = options.precision === 'bfloat16' ? decodeLoweringTable : floatDecodeLoweringTable;
  return (options.constantWeights ? decoding : nativeLoweringTable)[kind] ?? [];
}

/**
 * Nodes that some output depends on: lowerings write all results of an op, wanted or not, and the runtime computes what is
 * written (the head's weight gradient of a model that trains adapters alone is a fifth of its step).
 */
function liveNodes(nodes: readonly OnnxNode[], outputs: readonly Name[]): OnnxNode[] {
  const needed = new Set(outputs);
  const live = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((name) => needed.has(name))) return false;
    for (const name of node.inputs) needed.add(name);
    return true;
  });
  return live.reverse();
}

/**
 * Gives each graph output its public name by renaming the tensor where a node makes it (a copy node would cost a pass over
 * memory); an output that is an input, a constant or a second name of another output is copied.
 */
function nameOutputs(graph: Graph, emitter: EmitterState): OnnxNode[] {
  const inners = graph.outputs.map(({ value }) => emitter.nameOf(value)); // emits what was put off
  const made = new Set(emitter.nodes.flatMap((node) => node.outputs));
  const renamed = new Map<Name, Name>();
  const copies: OnnxNode[] = [];
  for (const [index, { name }] of graph.outputs.entries()) {
    const inner = inners[index];
    if (made.has(inner) && !renamed.has(inner)) renamed.set(inner, name);
    else copies.push({ op: 'Identity', domain: '', inputs: [inner], outputs: [name], attributes: {} });
  }
  const rename = (name: Name): Name => renamed.get(name) ?? name;
  return [...emitter.nodes, ...copies].map((node) => ({
    ...node,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
  }));
}
