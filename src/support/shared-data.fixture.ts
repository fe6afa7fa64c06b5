import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The path of a file or folder in the data and model collection beside the checkout (`../shared`), or undefined where it is
 * absent. Tests that need it skip with a message: `test(name, { skip: path === undefined && 'needs shared/…' }, …)`.
 */
export function sharedPath(relative: string): string | undefined {
  const path = fileURLToPath(new URL(`../../../shared/${relative}`, import.meta.url));
  return existsSync(path) ? path : undefined;
}
