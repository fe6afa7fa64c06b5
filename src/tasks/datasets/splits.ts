/** Splits that depend on the question alone. */
import { ConfigError } from '../../support/errors.js';
import { sha256 } from '../../support/hash.js';
import type { TaskItem } from './items.js';

/**
 * Divides questions among named splits. Each goes where the hash of its key points (by default its text), so equal questions
 * share a split, and a question stays where it is when others come or go. `fractions` are in 0–1 and their sum is at most 1; the rest is left out.
 * Errors: ConfigError for fractions that are none.
 */
export function splitByHash<Name extends string>(
  items: readonly TaskItem[],
  fractions: Readonly<Record<Name, number>>,
  {
    salt = '',
    keyOf = ({ question }) => plainText(question),
  }: { salt?: string; keyOf?: (item: TaskItem) => string } = {},
): Record<Name, TaskItem[]> {
  const names = Object.keys(fractions) as Name[];
  const sum = names.reduce((total, name) => total + fractions[name], 0);
  if (names.some((name) => !(fractions[name] >= 0)) || !(sum <= 1 + 1e-9)) {
    throw new ConfigError(
      `The fractions of the splits must be at least 0 and sum to at most 1, got ${JSON.stringify(fractions)}.`,
    );
  }
  const splits = Object.fromEntries(names.map((name) => [name, [] as TaskItem[]])) as Record<Name, TaskItem[]>;
  for (const item of items) {
    let place = hashPosition(keyOf(item), salt);
    const name = names.find((candidate) => {
      place -= fractions[candidate];
      return place < 0;
    });
    if (name !== undefined) splits[name].push(item);
  }
  return splits;
}

/** Where the hash of a question lies on [0, 1): copies of a question at the same place. */
export function hashPosition(question: string, salt: string): number {
  return Number.parseInt(sha256(JSON.stringify([salt, plainText(question)])).slice(0, 12), 16) / 2 ** 48;
}

/** A question without what copies of it differ by: white space and case. */
export const plainText = (question: string): string => question.toLowerCase().replace(/\s+/g, ' ').trim();
