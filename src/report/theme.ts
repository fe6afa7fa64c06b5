/** Colours, shapes and type of every page and figure. A colour is named by a CSS variable, so that figures follow the page. */
import type { Arm } from '../experiment/records.js';

/** Each token in light and dark. Text has a contrast of at least 4.5 on `surface` and `sunken`, marks of at least 3 (tested). */
export const TOKENS = {
  surface: ['#ffffff', '#14171c'],
  sunken: ['#f4f5f7', '#1d2128'],
  line: ['#d8dbe0', '#373d47'],
  grid: ['#e6e8ec', '#2a2f37'],
  ink: ['#1b1f26', '#e9ebee'],
  muted: ['#596270', '#a3abb8'],
  accent: ['#0b62a8', '#6cb8f5'],
  good: ['#12704a', '#5fd0a0'],
  bad: ['#b0380a', '#ff9264'],
  caution: ['#7d5a00', '#e8c25a'],
  blue: ['#1f5fd0', '#7f9cff'],
  teal: ['#00837c', '#33dca6'],
  orange: ['#d0400c', '#f5853f'],
  olive: ['#5c7c12', '#f3d631'],
  purple: ['#8c2a98', '#d08ad8'],
  grey: ['#39414b', '#d5dae2'],
} as const satisfies Readonly<Record<string, readonly [light: string, dark: string]>>;

export type Token = keyof typeof TOKENS;

/** The value of a token for `fill`, `stroke` and style sheets. */
export const color = (token: Token): string => `var(--${token})`;

/** A way to tell one series from the others in colour, and without it. Symbols are those of D3 that Plot knows by name. */
export interface SeriesStyle {
  readonly token: Token;
  readonly symbol: 'circle' | 'square' | 'triangle' | 'diamond' | 'star' | 'cross';
}

/** In this order any two neighbours, and any two at all, differ in shape and, under each colour blindness, in colour. */
export const SERIES: readonly SeriesStyle[] = [
  { token: 'blue', symbol: 'circle' },
  { token: 'orange', symbol: 'triangle' },
  { token: 'teal', symbol: 'square' },
  { token: 'purple', symbol: 'star' },
  { token: 'grey', symbol: 'diamond' },
  { token: 'olive', symbol: 'cross' },
];

export const ARM_STYLES: Readonly<Record<Arm, SeriesStyle>> = {
  temperature: SERIES[0],
  antidistillation: SERIES[1],
  maskedTemperature: SERIES[2],
  rule: SERIES[3],
  permutation: SERIES[4],
  greedy: SERIES[5],
};

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

/** The tokens as custom properties: light, and dark where the reader's screen asks for it; paper is light. */
export function tokenStyles(): string {
  const properties = (index: 0 | 1) =>
    Object.entries(TOKENS)
      .map(([name, values]) => `--${name}:${values[index]}`)
      .join(';');
  return (
    `:root{color-scheme:light dark;${properties(0)}}` +
    `@media screen and (prefers-color-scheme:dark){:root{${properties(1)}}}`
  );
}
