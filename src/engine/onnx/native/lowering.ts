/** What a row of a native lowering table is. */
import type { OpKind } from '../../graph/catalogue.js';
import type { Node } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';

/** Emits the op's nodes and binds its outputs in some form; false: declined, and nothing is bound. */
export type NativeLowering<K extends OpKind> = (e: Emitter, node: Node<K>) => boolean;

/** Candidates, tried in order. */
export type NativeLoweringTable = { readonly [K in OpKind]?: readonly NativeLowering<K>[] };
