/** The report of a distillation run: one page and its figures, from its two records. */
import { join } from 'node:path';
import type { DistillRecords } from '../experiment/distill/record-book.js';
import type { DistillDetails } from '../experiment/distill/records.js';
import { describeSpend } from '../experiment/distill/spend.js';
import { writeFileAtomic } from '../support/files.js';
import { writeFolderAtomic } from '../support/folders.js';
import { GAD_CITATION } from './citations.js';
import { curveFigures } from './distill-curves.js';
import { accuracyFigure } from './distill-figures.js';
import { distillFiles, readDistillRecords } from './distill-records.js';
import {
  ablationTable,
  costTable,
  doneStudents,
  largestSamplingDifference,
  mainOfMethod,
  overlapTable,
  resultTable,
  stepTable,
  studentTable,
} from './distill-tables.js';
import { type Figure, figureFile, figureHtml } from './figure.js';
import { countOf, formatNumber, percent } from './format.js';
import { type Html, html } from './html.js';
import { type Page, pageDocument, type Section } from './page.js';
import { responsesHtml } from './responses-view.js';
import type { PageSource } from './serve-run.js';
import { type Table, tableHtml } from './table.js';
import { toyFigure } from './toy-figure.js';
import type { WrittenReport } from './write-report.js';

/** For those who watch a run. */
export const DISTILL_PAGES: PageSource = {
  eyebrow: 'azeotrope · distillation run',
  files: distillFiles,
  page: async (folder) => distillPage(await readDistillRecords(folder)).page,
};

/** Writes `report.html` and `figures` into a run folder, over what is there. The same records give the same bytes. */
export async function writeDistillReport(folder: string, records: DistillRecords): Promise<WrittenReport> {
  const { page, figures } = distillPage(records);
  const figuresFolder = join(folder, 'figures');
  await writeFolderAtomic(figuresFolder, async (temporary) => {
    for (const figure of figures) await writeFileAtomic(join(temporary, `${figure.name}.svg`), figureFile(figure));
  });
  const path = join(folder, 'report.html');
  await writeFileAtomic(path, pageDocument(page));
  return { path, figures: figures.map(({ name }) => join(figuresFolder, `${name}.svg`)) };
}

/** The page of a run, finished or not, and the figures in it. */
export function distillPage(records: DistillRecords): { page: Page; figures: readonly Figure[] } {
  const { distill, details } = records;
  const { rows, commit, toy } = distill;
  const isAnybodyKnown = rows.length + details.undistilled.length > 0;
  const accuracy = isAnybodyKnown ? [accuracyFigure(records)] : [];
  const curves = curveFigures(records);
  const toys = toy === null ? [] : [toyFigure(toy)];
  const difference = largestSamplingDifference(records);
  const alarms = rows.flatMap((row) => row.alarms.map(({ message }) => `${row.variant}, seed ${row.seed}. ${message}`));
  const sections: (Section | undefined)[] = [
    section('students', 'Students', [
      ...accuracy.map(figureHtml),
      rows.length > 0 && tableHtml(resultTable(records)),
      rows.length > 0 && html`<details><summary>Every student</summary>${tableHtml(studentTable(records))}</details>`,
    ]),
    section('ablations', 'Ablations', [table(ablationTable(records))]),
    section('steps', 'How they came to it', [
      curves.length > 0 && html`<p>Of the first seed of each; each point is the mean of a few steps.</p>`,
      ...curves.map(figureHtml),
    ]),
    section('alarms', 'Alarms', [alarms.length > 0 && html`<ul>${alarms.map((text) => html`<li>${text}</li>`)}</ul>`]),
    section('responses', 'Responses side by side', [details.responses.length > 0 && responsesHtml(details.responses)]),
    section('overlap', 'Copying', [table(overlapTable(records))]),
    section('cost', 'Cost', [
      rows.length > 0 && tableHtml(costTable(records)),
      table(stepTable(records)),
      difference !== undefined &&
        html`<p>Log-probabilities of sampling and of training differ by at most ${formatNumber(difference, 2)} nats.</p>`,
      spendHtml(details),
    ]),
    section('modes', 'The toy', toys.map(figureHtml)),
    section('repeat', 'To repeat this', [repeatHtml(records)]),
    section('citation', 'Citation', [html`<pre><code>${GAD_CITATION}</code></pre>`]),
  ];
  return {
    page: {
      ...{ title: `${details.name}: distillation`, eyebrow: `Distillation run ${details.name}`, lead: html`` },
      ...headlineOf(records),
      notices: noticesOf(details),
      sections: sections.filter((each) => each !== undefined),
      footer: `${countOf(rows.length, 'student')}${commit === null ? '' : `, commit ${commit.slice(0, 12)}`}`,
    },
    figures: [...accuracy, ...curves, ...toys],
  };
}

/** A section of the parts that there are; undefined where there is none. */
function section(name: string, title: string, parts: readonly (Html | false | undefined)[]): Section | undefined {
  const there = parts.filter((part) => part !== false && part !== undefined);
  return there.length === 0 ? undefined : { name, title, body: html`${there}` };
}

const table = (value: Table | undefined): Html | undefined => (value === undefined ? undefined : tableHtml(value));

function noticesOf({ progress: { done, total, now } }: DistillDetails): Page['notices'] {
  if (now === null) return [];
  const text = `${done} of ${countOf(total, 'student')} done; at work: ${now}. Numbers below are of what is done.`;
  return [{ title: 'In progress.', text }];
}

/** The adversarial students beside those by text alone, on the seeds that both have; nothing is claimed where intervals overlap. */
function headlineOf({ distill: { rows } }: DistillRecords): Pick<Page, 'headline' | 'verdict'> {
  const all = mainOfMethod(rows, 'seqkd');
  const adversarial = mainOfMethod(rows, 'gad', all?.seeds);
  const text = mainOfMethod(rows, 'seqkd', adversarial?.seeds);
  if (text === undefined || adversarial === undefined) {
    const only = text ?? adversarial ?? mainOfMethod(rows, 'gkd') ?? mainOfMethod(rows, 'white-box-kd');
    return {
      headline: only === undefined ? 'No student is done yet' : `${only.name}: ${percent(only.inside.rate)} right`,
      verdict: '',
    };
  }
  const compare = (own: typeof text.inside, other: typeof text.inside) => {
    const isApart = own.interval.lower > other.interval.upper || other.interval.lower > own.interval.upper;
    const numbers = `${adversarial.name} ${percent(own.rate)}, ${text.name} ${percent(other.rate)}`;
    return isApart ? numbers : `${numbers}: no difference beyond chance`;
  };
  const isOutside = adversarial.outside !== null && text.outside !== null;
  return {
    headline: `In distribution ${compare(adversarial.inside, text.inside)}`,
    verdict: isOutside ? `Out of distribution ${compare(adversarial.outside!, text.outside!)}.` : '',
  };
}

function spendHtml({ spend }: DistillDetails): Html | undefined {
  if (spend === null) return undefined;
  const skipped =
    spend.numSkipped === 0 ? '' : ` ${countOf(spend.numSkipped, 'question')} got no answer and were left out.`;
  return html`<p>The teacher behind the endpoint: ${describeSpend(spend)} (prompts + responses), all calls of this run together.${skipped}</p>`;
}

function repeatHtml(records: DistillRecords): Html {
  const { details, distill } = records;
  const { command, versions, machine, precision } = details;
  const seeds = [...new Set(doneStudents(records).map(({ seed }) => seed))];
  const facts: [string, string][] = [
    ['command', command],
    ['commit', distill.commit ?? 'not known'],
    ['seeds', seeds.join(', ')],
    ['precision', precision],
    ['machine', `${machine.cpu}, ${countOf(machine.cores, 'core')}, ${countOf(machine.threads, 'thread')}`],
    ...Object.entries(versions),
  ];
  return html`<dl>${facts.filter(([, value]) => value !== '').map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>\n`)}</dl>
<p>Selection: the student with the highest share of right answers on the validation split is kept, the earliest of equals; where none was scored on it, the last. Intervals: Wilson, 95 %, of all answers together; they do not know that seeds differ.</p>
`;
}
