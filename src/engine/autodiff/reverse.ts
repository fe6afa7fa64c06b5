/** Reverse-mode differentiation: one walk back over the nodes built so far. */
import { invariant, ShapeError } from '../../support/errors.js';
import type { GraphBuilder } from '../graph/builder.js';
import { add, fill, scatterAddRows } from '../graph/ops.js';
import type { Node, Value } from '../graph/types.js';
import { type Cotangent, type NoRule, type RowsCotangent, type VjpRule, vjpRules } from './vjp-rules.js';

/**
 * Adds to the graph the gradient of the scalar `loss` with respect to each of `wrt`; a value that the loss does not depend on
 * gets zeros. A value may be an input or the result of a node. `recompute`, where given, stands in for a node's forward value during the walk (activation checkpointing).
 * Errors: ShapeError for a loss that is no scalar, or where a gradient would have to pass an op that has none.
 */
export function gradients(
  g: GraphBuilder,
  loss: Value,
  wrt: readonly Value[],
  options: { recompute?: (node: Node, cotangent: Value) => Node } = {},
): Value[] {
  if (loss.shape.length !== 0) throw new ShapeError(`a loss must be a scalar, got [${loss.shape.join(', ')}]`);
  const nodes = [...g.nodes];
  const reached = reachableFrom(nodes, wrt);
  const pending = new Map<Value, Cotangent[]>([[loss, [fill(g, [], 1)]]]);
  /** Of those asked for that nodes compute: the walk goes on behind them. */
  const passed = new Map<Value, Value>();
  for (const node of nodes.reverse()) {
    if (!node.outputs.some((value) => pending.has(value) && reached.has(value))) continue;
    const cotangents = node.outputs.map((value) => total(g, value, pending));
    node.outputs.forEach((value, index) => {
      const cotangent = cotangents[index];
      if (cotangent !== undefined) passed.set(value, cotangent);
    });
    const wanted = node.inputs.map((value) => reached.has(value));
    const first = cotangents.find((cotangent) => cotangent !== undefined);
    invariant(first !== undefined, `no cotangent reached ${node.kind}`);
    const standIn = options.recompute?.(node, first) ?? node;
    ruleOf(node)(g, standIn, cotangents, wanted).forEach((cotangent, index) => {
      if (cotangent === undefined || !wanted[index]) return;
      const target = node.inputs[index];
      pending.set(target, [...(pending.get(target) ?? []), cotangent]);
    });
  }
  return wrt.map((value) => passed.get(value) ?? total(g, value, pending) ?? fill(g, value.shape, 0));
}

/** Values that depend on any of `sources`, themselves included. */
function reachableFrom(nodes: readonly Node[], sources: readonly Value[]): Set<Value> {
  const reached = new Set(sources);
  for (const node of nodes) {
    if (!node.inputs.some((value) => reached.has(value))) continue;
    for (const value of node.outputs) if (value.dtype === 'float32') reached.add(value);
  }
  return reached;
}

function ruleOf(node: Node): VjpRule<typeof node.kind> {
  const rule = vjpRules[node.kind] as VjpRule<typeof node.kind> | NoRule;
  if (typeof rule === 'function') return rule;
  const label = node.outputs[0].label;
  throw new ShapeError(`no gradient passes through '${node.kind}'${label ? ` (${label})` : ''}: ${rule.none}`);
}

function isRows(cotangent: Cotangent): cotangent is RowsCotangent {
  return cotangent !== undefined && 'rows' in cotangent;
}

/** Sum of all that arrived at a value; contributions by rows are added last, onto the dense sum. */
function total(g: GraphBuilder, value: Value, pending: Map<Value, Cotangent[]>): Value | undefined {
  const parts = pending.get(value);
  if (parts === undefined) return undefined;
  pending.delete(value);
  const dense = parts.filter((part): part is Value => part !== undefined && !isRows(part));
  const rows = parts.filter(isRows);
  const sum = dense.length > 0 ? dense.reduce((a, b) => add(g, a, b)) : fill(g, value.shape, 0);
  return rows.reduce((base, part) => scatterAddRows(g, base, part.ids, part.rows), sum);
}
