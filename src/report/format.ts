/** Numbers as the report writes them: always the same characters for the same number, whatever the machine's language. */
import type { Interval } from '../evaluation/intervals.js';

/** Narrow space that does not break: between thousands, before a unit. */
const THIN = '\u202f';
const MINUS = '\u2212';

/** A proportion (0–1) in per cent without the sign, to a tenth: 0.0767 → `7.7`, 0.1 → `10`. */
export const formatPercent = (proportion: number): string => withMinus(trimZeros((100 * proportion).toFixed(1)));

/** `7.7 %`. */
export const percent = (proportion: number): string => `${formatPercent(proportion)}${THIN}%`;

/** `7.7 % (5.2–11)`: a proportion with its interval. */
export function percentWithInterval(proportion: number, { lower, upper }: Interval): string {
  return `${percent(proportion)} (${formatPercent(lower)}–${formatPercent(upper)})`;
}

/** A difference of proportions in points: 0.7 → `70 points`, 0.01 → `1 point`. */
export function points(difference: number): string {
  const text = formatPoints(difference);
  return `${text}\u00a0${text === '1' || text === `${MINUS}1` ? 'point' : 'points'}`;
}

/** A difference of proportions in points, without the word: whole where it is at least 10, else to a tenth. */
function formatPoints(difference: number): string {
  const value = 100 * difference;
  return withMinus(Math.abs(value) >= 9.95 ? value.toFixed(0) : trimZeros(value.toFixed(1)));
}

/** A number to so many significant digits, without trailing zeros; very large and small ones as 1.2e-5. */
export function formatNumber(value: number, digits = 3): string {
  if (value === 0) return '0';
  if (!Number.isFinite(value)) return Number.isNaN(value) ? '–' : value > 0 ? '∞' : `${MINUS}∞`;
  const magnitude = Math.abs(value);
  if (magnitude < 1e-3 || magnitude >= 1e7) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split('e');
    return withMinus(`${trimZeros(mantissa)}e${exponent.replace('+', '')}`);
  }
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(magnitude)));
  return withMinus(group(trimZeros(value.toFixed(decimals))));
}

/** A whole number with thousands apart: 12 345. */
export const formatCount = (value: number): string => withMinus(group(String(Math.round(value))));

/** A time: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`. */
export function formatDuration(durationMs: number): string {
  const seconds = durationMs / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)}${THIN}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}${THIN}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}${THIN}min${whole % 60 === 0 ? '' : ` ${whole % 60}${THIN}s`}`;
  return `${Math.floor(minutes / 60)}${THIN}h ${String(minutes % 60).padStart(2, '0')}${THIN}min`;
}

/** `1 student`, `3 students`. */
export const countOf = (count: number, noun: string): string =>
  `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;

/** `a, b and c`. */
export function listOf(items: readonly string[]): string {
  return items.length < 2 ? items.join('') : `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
}

function group(text: string): string {
  const [whole, fraction] = text.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, whole.replace('-', '').length > 4 ? THIN : '');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

const trimZeros = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

const withMinus = (text: string): string => text.replace(/^-0$/, '0').replace(/^-/, MINUS);
