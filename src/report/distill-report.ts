/** The report of a distillation run: one page and its figures, from `distill.json`. */
import { join } from 'node:path';
import type { Distill, DistillRow } from '../experiment/distill/records.js';
import { writeFileAtomic } from '../support/files.js';
import { writeFolderAtomic } from '../support/folders.js';
import { GAD_CITATION } from './citations.js';
import { accuracyFigure, byVariant, curveFigures, pooled } from './distill-figures.js';
import { type Figure, figureFile, figureHtml } from './figure.js';
import { countOf, formatCount, formatDuration, formatNumber, percent } from './format.js';
import { html } from './html.js';
import { type Page, pageDocument, type Section } from './page.js';
import { type Table, tableHtml } from './table.js';
import { toyFigure } from './toy-figure.js';

/** Writes `report.html` and `figures` into a run folder, over what is there. The same record gives the same bytes. */
export async function writeDistillReport(folder: string, distill: Distill): Promise<string> {
  const { page, figures } = distillPage(distill);
  await writeFolderAtomic(join(folder, 'figures'), async (temporary) => {
    for (const figure of figures) await writeFileAtomic(join(temporary, `${figure.name}.svg`), figureFile(figure));
  });
  const path = join(folder, 'report.html');
  await writeFileAtomic(path, pageDocument(page));
  return path;
}

/** The page of a run, finished or not, and the figures in it. */
export function distillPage(distill: Distill): { page: Page; figures: readonly Figure[] } {
  const { name, rows, commit, toy } = distill;
  const accuracy = accuracyFigure(distill);
  const curves = curveFigures(distill);
  const toys = toy === null ? [] : [toyFigure(toy)];
  const sections: (Section | false)[] = [
    { name: 'students', title: 'Students', body: html`${figureHtml(accuracy)}${tableHtml(studentTable(rows))}` },
    curves.length > 0 && {
      name: 'steps',
      title: 'How adversarial students came to it',
      body: html`<p>Of the first seed of each; each point is the mean of a few steps.</p>${curves.map(figureHtml)}`,
    },
    rows.some(({ alarms }) => alarms.length > 0) && {
      name: 'alarms',
      title: 'Alarms',
      body: html`<ul>${alarmTexts(rows).map((text) => html`<li>${text}</li>`)}</ul>`,
    },
    distill.curves.length > 0 && { name: 'cost', title: 'What a step costs', body: tableHtml(costTable(distill)) },
    toys.length > 0 && { name: 'modes', title: 'The toy', body: html`${toys.map(figureHtml)}` },
    { name: 'citation', title: 'Citation', body: html`<pre><code>${GAD_CITATION}</code></pre>` },
  ];
  return {
    page: {
      ...{ title: `${name}: distillation`, eyebrow: `Distillation run ${name}`, notices: [], lead: html`` },
      headline: headlineOf(rows),
      verdict: '',
      sections: sections.filter((section) => section !== false),
      footer: `${countOf(rows.length, 'student')}${commit === null ? '' : `, commit ${commit.slice(0, 12)}`}`,
    },
    figures: [accuracy, ...curves, ...toys],
  };
}

/** The best adversarial variant beside the best by text alone; nothing is claimed where intervals overlap. */
function headlineOf(rows: readonly DistillRow[]): string {
  const groups = byVariant(rows).map(({ name, rows: own }) => ({
    ...{ name, method: own[0].method },
    ...pooled(own.map(({ inDistribution }) => inDistribution)),
  }));
  const best = (method: DistillRow['method']) =>
    groups.filter((group) => group.method === method).sort((a, b) => b.rate - a.rate)[0];
  const [text, adversarial] = [best('seqkd'), best('gad')];
  if (text === undefined || adversarial === undefined) {
    const [first] = [...groups].sort((a, b) => b.rate - a.rate);
    return first === undefined ? 'No student is done yet' : `${first.name}: ${percent(first.rate)} right`;
  }
  const isApart = adversarial.interval.lower > text.interval.upper || text.interval.lower > adversarial.interval.upper;
  const numbers = `${adversarial.name} ${percent(adversarial.rate)}, ${text.name} ${percent(text.rate)}`;
  if (!isApart) return `${numbers}: no difference beyond chance in distribution`;
  return `${numbers} in distribution`;
}

function studentTable(rows: readonly DistillRow[]): Table {
  const names = [
    'student',
    'method',
    'seed',
    'in distribution',
    'out of distribution',
    'length',
    'tokens learned from',
    'kept step',
    'time',
  ];
  return {
    caption: 'Every student with its counts',
    columns: names.map((name, index) => ({ name, isNumber: index > 1 })),
    rows: rows.map((row) => [
      row.variant,
      row.method,
      String(row.seed),
      `${row.inDistribution.correct}/${row.inDistribution.total}`,
      row.outOfDistribution && `${row.outOfDistribution.correct}/${row.outOfDistribution.total}`,
      formatNumber(row.meanLength),
      formatCount(row.tokens),
      row.validation && String(row.validation.step),
      formatDuration(row.wallMs),
    ]),
  };
}

const alarmTexts = (rows: readonly DistillRow[]): string[] =>
  rows.flatMap(({ variant, seed, alarms }) => alarms.map(({ message }) => `${variant}, seed ${seed}. ${message}`));

function costTable({ curves }: Distill): Table {
  const parts = ['rolloutMs', 'scoreMs', 'studentMs', 'discriminatorMs'] as const;
  return {
    caption: 'Mean milliseconds of the parts of an adversarial step',
    isCaptionShown: true,
    columns: ['student', 'seed', 'rollouts', 'scores', 'student', 'discriminator', 'tokens'].map((name, index) => ({
      name,
      isNumber: index > 0,
    })),
    rows: curves.map(({ variant, seed, steps }) => {
      const own = steps.filter(({ phase }) => phase === 'adversarial');
      const mean = (of: (row: (typeof own)[number]) => number) =>
        own.length === 0 ? null : formatNumber(own.reduce((sum, row) => sum + of(row), 0) / own.length);
      return [
        variant,
        String(seed),
        ...parts.map((part) => mean((row) => row[part])),
        mean(({ numTokens }) => numTokens),
      ];
    }),
  };
}
