/** Answers to one question side by side, each token coloured by its Δ. */
import type { ShownTrace } from '../experiment/records.js';
import { quantile } from '../support/statistics.js';
import { formatNumber } from './format.js';
import { type Html, html, rawHtml } from './html.js';
import { ARMS, nameOf } from './settings.js';
import { color } from './theme.js';

/** Up to so many tokens each carries its number; longer answers are running text, with the numbers on hovering. */
const MAX_NUMBERED = 80;

/** Where the colour is strongest: few tokens have a larger |Δ|. */
const SATURATION_QUANTILE = 0.98;

/** Traces by question, in the order of the questions and, within each, of the arms. */
export function tracesHtml(traces: readonly ShownTrace[]): Html {
  const sizes = traces.flatMap(({ tokens }) =>
    tokens.flatMap(({ delta }) => (delta === null ? [] : [Math.abs(delta)])),
  );
  const saturation = sizes.length > 0 ? quantile(sizes, SATURATION_QUANTILE) : 0;
  const scale = { saturation, ...unitOf(saturation) };
  const groups = new Map<string, ShownTrace[]>();
  for (const trace of traces) {
    const key = JSON.stringify([trace.question, trace.teacherSeed, trace.seed]);
    groups.set(key, [...(groups.get(key) ?? []), trace]);
  }
  return html`<div class="key" aria-hidden="true"><span>Δ${scale.name}</span>${[-1, -0.5, 0, 0.5, 1].map((part) => html`<span class="token" style="${background(part)}">${numberIn(scale, part * saturation)}</span>`)}<span>the warmer, the worse to learn from</span></div>
${[...groups.values()].map((members, index) => groupHtml(members, { scale, isOpen: index === 0 }))}`;
}

function groupHtml(traces: readonly ShownTrace[], { scale, isOpen }: { scale: Scale; isOpen: boolean }): Html {
  const sorted = [...traces].sort((a, b) => ARMS.indexOf(a.arm) - ARMS.indexOf(b.arm));
  return html`<details class="question"${isOpen && rawHtml(' open')}><summary>${sorted[0].question}</summary>
<div class="traces">
${sorted.map((trace) => traceHtml(trace, scale))}</div>
</details>
`;
}

function traceHtml({ isCorrect, tokens, ...trace }: ShownTrace, scale: Scale): Html {
  const isNumbered = tokens.length <= MAX_NUMBERED;
  const name = nameOf({ ...trace, studentKind: 'blackBox', proxyKind: 'default' });
  return html`<article class="trace"><h4>${name}<span>${isCorrect ? '✓ right' : '✗ wrong'}, ${String(tokens.length)} tokens</span></h4>
<p class="${isNumbered ? 'tokens' : 'running'}">${tokens.map(({ text, delta, logProbability }) => {
    const title = [
      delta === null ? undefined : `Δ ${formatNumber(delta)}`,
      logProbability === null ? undefined : `ln p ${formatNumber(logProbability)}`,
    ].filter((part) => part !== undefined);
    const style = delta === null || scale.saturation === 0 ? '' : background(delta / scale.saturation);
    const shown = isNumbered ? visible(text) : text;
    const number = isNumbered && html`<small>${delta === null ? '–' : numberIn(scale, delta)}</small>`;
    return html`<span class="token" style="${style}" title="${title.join(', ')}">${shown}${number}</span>`;
  })}</p></article>
`;
}

/** What all numbers of a page are told in, so that they are short: 6447 as 6.4, in units of 10³. */
interface Scale {
  /** |Δ| of the strongest colour. */
  readonly saturation: number;
  readonly unit: number;
  readonly name: string;
}

function unitOf(saturation: number): Pick<Scale, 'unit' | 'name'> {
  const power = saturation > 0 ? 3 * Math.floor(Math.log10(saturation) / 3) : 0;
  // 0.3 is short enough as it is.
  return power === 0 || (power === -3 && saturation >= 0.1)
    ? { unit: 1, name: '' }
    : { unit: 10 ** power, name: ` in units of 1e${power}` };
}

const numberIn = ({ saturation, unit }: Scale, delta: number): string =>
  (delta / unit)
    .toFixed(saturation / unit >= 10 ? 0 : saturation / unit >= 1 ? 1 : 2)
    .replace(/^-(0(\.0+)?)$/, '$1')
    .replace('-', '−');

/** A colour for a part of the scale, −1 to 1: blue for what is good to learn from, orange for what is bad, nothing for 0. */
function background(part: number): string {
  const strength = Math.round(Math.min(1, Math.abs(part)) * 55);
  return `background:color-mix(in srgb,${color(part > 0 ? 'orange' : 'blue')} ${strength}%,transparent)`;
}

/** White space at the ends is set by the layout; a token of nothing else must still be seen. */
const visible = (text: string): string => text.trim() || text.replace(/\n/g, '⏎').replace(/ /g, '␣') || '∅';
