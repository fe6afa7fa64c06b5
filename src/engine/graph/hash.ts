/** Identity of a graph: equal hashes compute the same thing, so a compiled session can be shared. */
import { createHash } from 'node:crypto';
import { printGraph } from './print.js';
import type { Graph } from './types.js';

/** SHA-256 over structure, shapes and constants; independent of how often values were numbered before. */
export function hashGraph(graph: Graph): string {
  const hash = createHash('sha256');
  const ids = new Map<number, number>();
  hash.update(
    printGraph(graph).replace(/%(\d+)\b/g, (_, id: string) => {
      const key = Number(id);
      if (!ids.has(key)) ids.set(key, ids.size);
      return `%${ids.get(key)}`;
    }),
  );
  for (const { data } of graph.constants) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return hash.digest('hex');
}
