/** Drawings as text: the only importer of Plot and linkedom. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { escapeMarkup } from './html.js';
import { color, FONT, TOKENS } from './theme.js';

export type Marks = readonly Plot.Markish[];

export interface DrawingOptions extends Omit<Plot.PlotOptions, 'marks' | 'document' | 'style' | 'className'> {
  /** Of the drawing in CSS pixels. A drawing is never scaled: wide and narrow ones are drawn apart. */
  readonly width: number;
  readonly height: number;
  readonly marks: Marks;
}

/** A drawing as SVG markup without a description: colours are CSS variables of the page. The same input gives the same text. */
export function draw(options: DrawingOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const svg = Plot.plot({
    ...options,
    marks: [...options.marks],
    // A document of linkedom's has all that Plot asks of one.
    document: document as unknown as NonNullable<Plot.PlotOptions['document']>,
    className: 'plot',
  }) as unknown as { outerHTML: string };
  return tidy(svg.outerHTML);
}

/** Around a figure that is a file, in pixels. */
const FILE_MARGIN = 16;

/** A drawing as a file of its own, which follows the reader's light or dark too and needs no CSS variables. */
export function svgFile(drawing: string, { title, alt }: { title: string; alt: string }): string {
  const light = Object.entries(TOKENS).map(([name, [value]]) => [color(name as keyof typeof TOKENS), value] as const);
  const text = light.reduce((markup, [variable, value]) => markup.replaceAll(variable, value), drawing);
  const dark = Object.values(TOKENS)
    .map(([from, to]) => `[fill="${from}"]{fill:${to}}[stroke="${from}"]{stroke:${to}}`)
    .join('');
  const [width, height] = /viewBox="0 0 (\S+) (\S+)"/.exec(drawing)!.slice(1).map(Number);
  const frame = [width + 2 * FILE_MARGIN, height + 2 * FILE_MARGIN].map(String);
  const place = `x="${-FILE_MARGIN}" y="${-FILE_MARGIN}" width="${frame[0]}" height="${frame[1]}"`;
  const head =
    `<title>${escapeMarkup(title)}</title><desc>${escapeMarkup(alt)}</desc>` +
    `<style>@media screen and (prefers-color-scheme:dark){${dark}}</style>` +
    `<rect ${place} fill="${TOKENS.surface[0]}"/>`;
  const start = /^<svg[^>]*>/.exec(text)![0];
  const opened = start
    .replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" role="img" ')
    .replace(/viewBox="[^"]*"/, `viewBox="${-FILE_MARGIN} ${-FILE_MARGIN} ${frame.join(' ')}"`)
    .replace(/ width="[^"]*"/, ` width="${frame[0]}"`)
    .replace(/ height="[^"]*"/, ` height="${frame[1]}"`);
  return `${opened}${head}${text.slice(start.length)}\n`;
}

/** Without what Plot adds for living pages; numbers to a hundredth of a pixel, so that no last bit of arithmetic shows. */
function tidy(markup: string): string {
  return markup
    .replace(/<style>[\s\S]*?<\/style>/g, '')
    .replace(/ class="plot"/g, '')
    .replace(/ aria-(label|hidden|description)="[^"]*"/g, '')
    .replace(/ font-family="[^"]*"/, ` font-family="${escapeMarkup(FONT)}"`)
    .replace(/<[^>]*>/g, (tag) => tag.replace(/-?\d+\.\d{3,}/g, (number) => String(Number(Number(number).toFixed(2)))))
    .replace(/ \/>/g, '/>');
}

/** How wide a text is drawn, in pixels: an estimate from above for the fonts of `FONT`. */
export function textWidth(text: string, fontSize: number): number {
  let ems = 0;
  for (const character of text) {
    if (/[il.,:;|'!() \u202f]/.test(character)) ems += 0.33;
    else if (/[mwMW%@—→]/.test(character)) ems += 0.9;
    else if (/[A-Z]/.test(character)) ems += 0.7;
    else ems += 0.57;
  }
  return ems * fontSize;
}
