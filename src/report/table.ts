/** Tables: a plain value and its markup. */
import { type Html, html } from './html.js';

interface Column {
  readonly name: string;
  /** Numbers stand at the right, in figures of equal width. */
  readonly isNumber?: boolean;
}

type Cell = string | Html | null;

export interface Table {
  /** What the table is, for those who hear it read out; shown where `isCaptionShown`. */
  readonly caption: string;
  readonly isCaptionShown?: boolean;
  /** The first column names the row. */
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A table that scrolls sideways on its own where it is wider than the page. */
export function tableHtml({ caption, isCaptionShown = false, columns, rows }: Table): Html {
  const kind = (index: number) => (columns[index]?.isNumber ? 'number' : 'text');
  // Beside the table, not in it: what scrolls sideways would take the caption with it.
  const shown = isCaptionShown && html`<p class="caption" aria-hidden="true">${caption}</p>\n`;
  return html`${shown}<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table>
<caption class="unseen">${caption}</caption>
<thead><tr>${columns.map(({ name }, index) => html`<th scope="col" class="${kind(index)}">${name}</th>`)}</tr></thead>
<tbody>
${rows.map((cells) => html`<tr>${cells.map((cell, index) => cellHtml(cell ?? '–', { isName: index === 0, kind: kind(index) }))}</tr>\n`)}</tbody>
</table></div>`;
}

function cellHtml(cell: string | Html, { isName, kind }: { isName: boolean; kind: string }): Html {
  return isName ? html`<th scope="row" class="${kind}">${cell}</th>` : html`<td class="${kind}">${cell}</td>`;
}
