/**
 * The second lowering table, which stands before the composite one: an op as native kernels, where the runtime has them and the
 * shapes and the precision suit. A row that declines leaves the op to the composite. Models and differentiation rules know
 * nothing of it.
 */
import type { OpKind } from '../graph/catalogue.js';
import type { Node } from '../graph/types.js';
import type { Emitter } from './emitter.js';

/** Emits the op's nodes and binds its outputs in some form; false: declined, and nothing is bound. */
export type NativeLowering<K extends OpKind> = (e: Emitter, node: Node<K>) => boolean;

/** Candidates, tried in order. */
export type NativeLoweringTable = { readonly [K in OpKind]?: readonly NativeLowering<K>[] };

export const nativeLoweringTable: NativeLoweringTable = {};

/**
 * Ops whose nodes are emitted when something asks for their results, not in the order of the graph: what asks may absorb them
 * into a kernel of its own.
 */
export const deferredKinds: ReadonlySet<OpKind> = new Set<OpKind>([]);
