/** The report of a run, written into its folder. */
import { join } from 'node:path';
import { writeFileAtomic } from '../support/files.js';
import { writeFolderAtomic } from '../support/folders.js';
import { renderReport } from './report.js';
import { readRecords } from './run-records.js';

export interface WrittenReport {
  /** Of the page. */
  readonly path: string;
  /** Of the figures, in the order of the page. */
  readonly figures: readonly string[];
}

/**
 * Makes `report.html` and the folder `figures` from `tradeoff.json` and `details.json` of a run folder, over what is there. The same
 * records give the same bytes.
 * @throws DataError for a folder that is none of a run's, damaged or of another schema, and where nothing can be written
 */
export async function writeReport(folder: string): Promise<WrittenReport> {
  const { html, figures } = renderReport(await readRecords(folder));
  const figuresFolder = join(folder, 'figures');
  await writeFolderAtomic(figuresFolder, async (temporary) => {
    for (const { name, svg } of figures) await writeFileAtomic(join(temporary, name), svg);
  });
  const path = join(folder, 'report.html');
  await writeFileAtomic(path, html);
  return { path, figures: figures.map(({ name }) => join(figuresFolder, name)) };
}
