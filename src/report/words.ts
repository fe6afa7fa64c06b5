/** Phrases that the sentences of a report share. */
import type { Recovery } from './findings.js';
import { formatNumber, percentWithInterval, points } from './format.js';
import type { Estimate, Gap, Setting } from './settings.js';

/** A difference that is not worth a word, in 0–1. */
export const SLIGHT = 0.05;

/** `readOff` → “read off”. */
export const quote = (name: string): string => `“${spaced(name)}”`;

/** A name from a configuration as words: `readOff` → `read off`. */
export const spaced = (name: string): string =>
  name
    .replace(/([a-z0-9])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`)
    .replace(/[-_]/g, ' ');

export const rateOf = ({ rate, interval }: Estimate): string => percentWithInterval(rate, interval);

export const gapBounds = ({ lower, upper }: Gap): string =>
  `${formatNumber(100 * lower, 2)} to ${formatNumber(100 * upper, 2)}`;

export const gapText = (gap: Gap): string => `${points(gap.value)} (${gapBounds(gap)})`;

/** How far one lies above, or below, another. */
export const moreOrFewer = (gap: Gap): string =>
  gap.value < 0
    ? `${gapText({ ...gap, value: -gap.value, lower: -gap.upper, upper: -gap.lower })} fewer`
    : `${gapText(gap)} more`;

export const timesAsLong = ({ trainingMultiple }: Setting): string =>
  trainingMultiple === 2 ? 'twice as long' : `${formatNumber(trainingMultiple)} times as long`;

/** Beyond what was taken there is nothing to regain: a student may be better than the one that the defence is measured by. */
export function regainedText(share: number): string {
  if (share <= 0) return 'regaining nothing';
  return share >= 1 ? 'regaining all' : `regaining ${formatNumber(100 * share, 2)} %`;
}

export const areApart = (a: Estimate, b: Estimate): boolean =>
  a.interval.upper < b.interval.lower || b.interval.upper < a.interval.lower;

export const byRate = <Item extends Recovery>(items: readonly Item[]): Item[] =>
  [...items].sort((a, b) => b.setting.student.rate - a.setting.student.rate);

export const join = (sentences: readonly (string | false | undefined)[]): string => sentences.filter(Boolean).join(' ');

/** A sentence of a glossary as part of another: without its capital and its stop; nothing where there is none. */
export const asClause = (sentence: string | undefined): string =>
  sentence === undefined ? '' : sentence.charAt(0).toLowerCase() + sentence.slice(1).replace(/\.$/, '');
