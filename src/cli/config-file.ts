import { isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import { ConfigError, messageOf } from '../support/errors.js';
import { readText } from '../support/files.js';

export type ConfigFile = {
  readonly values: Readonly<Record<string, unknown>>;
  /** Where a key stands: `run.yaml:3`. */
  readonly placeOf: (key: string) => string;
  /** Where the value of a path of keys and indices stands, or the nearest of what it lies in. */
  readonly placeAt: (path: readonly PropertyKey[]) => string;
};

/**
 * Reads a configuration from YAML (or JSON, which YAML contains): one mapping from option names to values.
 * @throws ConfigError naming file:line where the file is not such a mapping; DataError where it cannot be read
 */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  const lineCounter = new LineCounter();
  const document = parseDocument(await readText(path), { lineCounter, prettyErrors: false });
  const [error] = document.errors;
  if (error) throw new ConfigError(`${path}:${lineCounter.linePos(error.pos[0]).line}: ${error.message}`);
  if (document.contents === null) return { values: {}, placeOf: () => path, placeAt: () => path };
  const root = document.contents;
  if (!isMap(root)) throw new ConfigError(`${path}: expected lines of the form "option: value".`);

  const lines = new Map<string, number>();
  for (const { key } of root.items) {
    if (isScalar(key) && key.range) lines.set(String(key.value), lineCounter.linePos(key.range[0]).line);
  }
  const placeAt = (keys: readonly PropertyKey[]): string => {
    for (let length = keys.length; length > 0; length--) {
      const node = document.getIn(keys.slice(0, length), true);
      if (isNode(node) && node.range) return `${path}:${lineCounter.linePos(node.range[0]).line}`;
    }
    return path;
  };
  try {
    const values = document.toJS({ maxAliasCount: 100 }) as Record<string, unknown>;
    return { values, placeOf: (key) => (lines.has(key) ? `${path}:${lines.get(key)}` : path), placeAt };
  } catch (cause) {
    throw new ConfigError(`${path}: ${messageOf(cause)}.`); // an alias without an anchor, or aliases that multiply
  }
}
