/** A figure: a drawing in two widths, what it says in words, and its numbers as a table beside it. */
import { type Html, html, rawHtml } from './html.js';
import { svgFile } from './svg.js';
import { type Table, tableHtml } from './table.js';

export interface Figure {
  /** Of its file and its place in the page: kebab-case. */
  readonly name: string;
  readonly title: string;
  /** What a reader sees who cannot see it. */
  readonly alt: string;
  readonly caption: string;
  /** SVG markup at a width in CSS pixels. */
  readonly draw: (width: number) => string;
  readonly table: Table;
}

/** Text keeps its size on a phone because the narrow drawing is another drawing, not a smaller one. */
const WIDE = 760;
const NARROW = 326;

export function figureHtml({ name, title, alt, caption, draw, table }: Figure): Html {
  const drawing = (kind: string, width: number) =>
    html`<div class="drawing ${kind}" role="img" aria-label="${alt}">${rawHtml(draw(width))}</div>`;
  return html`<figure id="${name}">
<h3>${title}</h3>
${drawing('wide', WIDE)}
${drawing('narrow', NARROW)}
<figcaption>${caption}</figcaption>
<details><summary>The numbers of this figure</summary>
${tableHtml(table)}
</details>
</figure>
`;
}

/** The drawing as a file of its own. */
export function figureFile({ title, alt, draw }: Figure): string {
  return svgFile(draw(WIDE), { title, alt });
}
