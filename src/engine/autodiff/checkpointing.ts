/**
 * Activation checkpointing: of a segment of the forward pass (a layer) only what enters it is kept, and the rest is computed
 * again when the backward pass arrives. One more forward pass buys memory that no longer grows with layers × activations.
 * @see Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174
 */
import { invariant } from '../../support/errors.js';
import type { GraphBuilder } from '../graph/builder.js';
import { after } from '../graph/ops.js';
import type { Node, Value } from '../graph/types.js';

export interface Checkpointing {
  /** Ends the open segment, if any, and opens the next: nodes built from now on belong to it and reach the past only through `entry`. */
  begin(entry: Value): void;
  /** Ends the open segment; what is built afterwards is kept as usual. */
  end(): void;
  /** For `gradients(…, { recompute })`. */
  recompute(node: Node, cotangent: Value): Node;
}

interface Segment {
  readonly entry: Value;
  readonly start: number;
  end: number;
  /** Replayed nodes by the original ones, once the backward pass has arrived. */
  replayed: Map<Node, Node> | undefined;
}

/** Records the segments of the graph being built. */
export function createCheckpointing(g: GraphBuilder): Checkpointing {
  const segments: Segment[] = [];
  const segmentOf = new Map<Node, Segment>();
  let open: Segment | undefined;

  const end = () => {
    if (open === undefined) return;
    open.end = g.nodes.length;
    for (const node of g.nodes.slice(open.start, open.end)) segmentOf.set(node, open);
    open = undefined;
  };

  return {
    begin(entry) {
      end();
      open = { entry, start: g.nodes.length, end: g.nodes.length, replayed: undefined };
      segments.push(open);
    },
    end,
    recompute(node, cotangent) {
      invariant(open === undefined, 'the last segment is still open');
      const segment = segmentOf.get(node);
      if (segment === undefined) return node;
      segment.replayed ??= replay(g, segment, cotangent);
      const standIn = segment.replayed.get(node);
      invariant(standIn !== undefined, `${node.kind} was not replayed`);
      return standIn;
    },
  };
}

/** Applies the segment's nodes again, to its entry as it stands once `cotangent` is there. Unneeded ones die with the graph. */
function replay(g: GraphBuilder, segment: Segment, cotangent: Value): Map<Node, Node> {
  const values = new Map<Value, Value>([[segment.entry, after(g, segment.entry, cotangent)]]);
  const replayed = new Map<Node, Node>();
  for (const node of g.nodes.slice(segment.start, segment.end)) {
    const inputs = node.inputs.map((value) => values.get(value) ?? value);
    const outputs = g.apply(node.kind, inputs, node.params, node.outputs[0].label);
    node.outputs.forEach((value, index) => {
      values.set(value, outputs[index]);
    });
    replayed.set(node, { ...node, inputs, outputs });
  }
  return replayed;
}
