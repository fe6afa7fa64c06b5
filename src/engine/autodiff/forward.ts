/** Forward-mode differentiation: one walk over the nodes built so far. */
import { ShapeError } from '../../support/errors.js';
import type { GraphBuilder } from '../graph/builder.js';
import { fill } from '../graph/ops.js';
import type { Value } from '../graph/types.js';
import { type JvpRule, jvpRules } from './jvp-rules.js';
import type { NoRule } from './vjp-rules.js';

/**
 * Adds to the graph the directional derivative of each target when every value of `seeds` moves along its tangent (a value of
 * the same shape): d/dε target(x + ε·tangent) at ε = 0. Targets that do not move get zeros.
 * Errors: ShapeError where a tangent would have to pass an op that has no rule.
 */
export function directionalDerivatives(
  g: GraphBuilder,
  targets: readonly Value[],
  seeds: ReadonlyMap<Value, Value>,
): Value[] {
  const tangents = new Map(seeds);
  for (const node of [...g.nodes]) {
    const moving = node.inputs.map((value) => tangents.get(value));
    if (moving.every((tangent) => tangent === undefined)) continue;
    const rule = jvpRules[node.kind] as JvpRule<typeof node.kind> | NoRule;
    if (typeof rule !== 'function') {
      if (node.outputs.every((value) => value.dtype !== 'float32')) continue;
      throw new ShapeError(`no tangent passes through '${node.kind}': ${rule.none}`);
    }
    rule(g, node, moving).forEach((tangent, index) => {
      if (tangent !== undefined) tangents.set(node.outputs[index], tangent);
    });
  }
  return targets.map((target) => tangents.get(target) ?? fill(g, target.shape, 0));
}
