/** JSON to be read: what fits on a line stands on one. */

const WIDTH = 88;

/** Indented JSON in which a list or an object that is short enough is one line: a page, not ten, on paper. */
export function jsonText(value: unknown, indent = ''): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
  const isList = Array.isArray(value);
  const [open, close] = isList ? '[]' : '{}';
  const entries = (deeper: string): string[] =>
    isList
      ? value.map((entry) => jsonText(entry, deeper))
      : Object.entries(value)
          .filter(([, entry]) => entry !== undefined)
          .map(([key, entry]) => `${JSON.stringify(key)}: ${jsonText(entry, deeper)}`);
  const parts = entries(`${indent}  `);
  if (parts.length === 0) return open + close;
  const line = isList ? `[${parts.join(', ')}]` : `{ ${parts.join(', ')} }`;
  if (indent.length + line.length <= WIDTH && !line.includes('\n')) return line;
  return `${open}\n${parts.map((part) => `${indent}  ${part}`).join(',\n')}\n${indent}${close}`;
}
