/** The report of a trade-off run: from its two records to one page and its figures. */
import type { Details, FactTable } from '../experiment/records.js';
import { ANTIDISTILLATION_CITATION, GAD_CITATION, softwareCitation } from './citations.js';
import { epsilonFigure, stageFigure, tokenCostFigure } from './cost-figures.js';
import { type Figure, figureFile, figureHtml } from './figure.js';
import { findResults } from './findings.js';
import { countOf, formatCount, formatDuration, formatNumber, formatPercent } from './format.js';
import { type Html, html } from './html.js';
import { jsonText } from './json-text.js';
import type { Page, Section } from './page.js';
import { pageDocument } from './page.js';
import { readResult } from './reading.js';
import type { RunRecords } from './run-records.js';
import { nameOf, type Setting } from './settings.js';
import {
  adaptiveFigure,
  baselinesTable,
  longerFigure,
  permutationFigure,
  proxiesFigure,
  settingsTable,
  studentText,
  tradeoffFigure,
} from './student-figures.js';
import { type Table, tableHtml } from './table.js';
import { tracesHtml } from './traces-view.js';
import { spaced } from './words.js';

export interface Report {
  readonly html: string;
  /** Files of the folder `figures`. */
  readonly figures: readonly { readonly name: string; readonly svg: string }[];
}

/** The whole report of a run. The same records give the same bytes. */
export function renderReport(records: RunRecords): Report {
  const { page, figures } = reportPage(records);
  return {
    html: pageDocument(page),
    figures: figures.map((figure) => ({ name: `${figure.name}.svg`, svg: figureFile(figure) })),
  };
}

/** The page of a run, finished or not, and the figures in it. */
export function reportPage({ tradeoff, details }: RunRecords): { page: Page; figures: readonly Figure[] } {
  const findings = findResults(tradeoff);
  const reading = readResult(findings, details);
  const main = present([tradeoffFigure(findings)]);
  const students = present([
    permutationFigure(findings),
    longerFigure(findings),
    adaptiveFigure(findings),
    proxiesFigure(findings),
  ]);
  const costs = present([epsilonFigure(tradeoff), tokenCostFigure(tradeoff), stageFigure(details)]);
  const beside = baselinesTable(tradeoff);
  const figuresHtml = (figures: readonly Figure[]) => html`${figures.map(figureHtml)}`;
  const sections: (Section | false)[] = [
    {
      name: 'result',
      title: 'The result in words',
      body: html`${reading.paragraphs.map(({ title, text }) => html`<h3>${title}</h3>\n<p>${text}</p>\n`)}`,
    },
    students.length > 0 && { name: 'students', title: 'What students learn', body: figuresHtml(students) },
    details.traces.length > 0 && {
      name: 'traces',
      title: 'Traces side by side',
      body: html`<p>The same questions under different samplers. A token’s number and colour are its Δ, to first order how much more the loss of a student rises by
learning from it than from what stands there on average without a defence: warm tokens are bad to learn from, cold ones good.</p>${tracesHtml(details.traces)}`,
    },
    { name: 'task', title: 'The task and its models', body: taskHtml(details) },
    costs.length > 0 && { name: 'cost', title: 'Cost and exactness', body: figuresHtml(costs) },
    findings.settings.length > 0 && {
      name: 'points',
      title: 'All points',
      body: html`${tableHtml(settingsTable(findings.settings, 'All settings, seeds pooled'))}${beside !== undefined && tableHtml(beside)}
<details class="screen-only"><summary>Every student (${formatCount(tradeoff.points.length)})</summary>
${tableHtml(pointsTable(findings.settings))}</details>
`,
    },
    { name: 'repeat', title: 'How to repeat and cite it', body: repeatHtml({ tradeoff, details }) },
  ];
  const page: Page = {
    title: `${details.name} – antidistillation trade-off`,
    eyebrow: `azeotrope · trade-off run “${details.name}” · ${details.task.name} · ${details.startedAt.slice(0, 10)}`,
    headline: reading.headline,
    verdict: reading.verdict,
    notices: noticesOf(details),
    lead: html`${reading.tiles.length > 0 && html`<ul class="tiles">${reading.tiles.map(({ name, value, note, tone }) => html`<li class="${tone}"><span class="name">${name}</span><span class="value">${value}</span><span class="note">${note}</span></li>`)}</ul>\n`}${figuresHtml(main)}`,
    sections: sections.filter((section) => section !== false),
    footer: footerOf({ tradeoff, details }),
  };
  return { page, figures: [...main, ...students, ...costs] };
}

function noticesOf({ isQuick, progress: { done, total } }: Details): Page['notices'] {
  return [
    ...(done < total
      ? [
          {
            title: 'In progress.',
            text: `${formatCount(done)} of ${formatCount(total)} stages are done. Everything here will change until the run ends.`,
          },
        ]
      : []),
    ...(isQuick
      ? [
          {
            title: 'A quick run.',
            text: 'Fewer seeds, points and questions than the whole run has: it shows the shape of the result and is not to be quoted.',
          },
        ]
      : []),
  ];
}

function taskHtml({ task, facts, glossary }: Details): Html {
  const terms = (title: string, entries: Readonly<Record<string, string>> = {}) =>
    Object.keys(entries).length > 0 &&
    html`<h3>${title}</h3>\n<dl>${Object.entries(entries).map(([name, text]) => html`<dt>${spaced(name)}</dt><dd>${text}</dd>`)}</dl>\n`;
  return html`<p>${task.description}</p>
${facts.map(factHtml)}
${terms('Adaptive students', glossary?.attacks)}${terms('Proxies', glossary?.proxyKinds)}`;
}

/** A long table is folded: most readers want to know only that it is there. */
const LONG_TABLE = 14;

function factHtml(fact: FactTable): Html {
  const table = tableHtml(factTable(fact));
  const numRows = fact.rows.length;
  return html`<h3>${fact.title}</h3>
<p class="caption">${fact.caption}</p>
${numRows > LONG_TABLE ? html`<details><summary>${countOf(numRows, 'row')}</summary>\n${table}</details>\n` : table}`;
}

function factTable({ title, columns, rows }: FactTable): Table {
  const isNumber = columns.map((_, index) =>
    rows.every(({ values }) => typeof values[index] !== 'string' || /^[\d−-]/.test(values[index])),
  );
  return {
    caption: title,
    columns: [{ name: '' }, ...columns.map((name, index) => ({ name, isNumber: isNumber[index] }))],
    rows: rows.map(({ name, values }) => [
      name,
      ...values.map((value) => (typeof value === 'number' ? formatNumber(value) : value)),
    ]),
  };
}

function pointsTable(settings: readonly Setting[]): Table {
  const names = [
    'sampler',
    'student',
    'teacher seed',
    'seed',
    'teacher',
    'student right',
    'finished',
    'λ',
    'nats',
    'tokens',
    'time',
  ];
  return {
    caption: 'Every student with its counts',
    columns: names.map((name, index) => ({ name, isNumber: index > 1 })),
    rows: settings
      .flatMap(({ points }) => points)
      .map((point) => {
        const { teacher, student, meanKlNats } = point;
        const { lambda } = point.settings;
        return [
          nameOf(point),
          studentText(point),
          String(point.teacherSeed),
          String(point.seed),
          `${teacher.correct}/${teacher.total}`,
          `${student.correct}/${student.total}`,
          String(student.finished),
          typeof lambda === 'number' ? formatNumber(lambda) : null,
          meanKlNats === null ? null : formatNumber(meanKlNats, 2),
          formatCount(point.tokens),
          formatDuration(point.wallMs),
        ];
      }),
  };
}

function repeatHtml({ tradeoff: { commit, precision }, details }: RunRecords): Html {
  const { machine, versions, command = 'azeotrope tradeoff', config } = details;
  const checkout = commit === null ? '' : `git checkout ${commit}\n`;
  const facts: readonly (readonly [string, string])[] = [
    ['commit', commit ?? 'unknown (not run from a checkout)'],
    ['started', details.startedAt],
    ['took', formatDuration(details.wallMs)],
    [
      'machine',
      `${machine.cpu}, ${countOf(machine.cores, 'core')}, ${formatNumber(machine.memoryGiB)} GiB, ${countOf(machine.threads, 'thread')}`,
    ],
    ...(precision === undefined ? [] : [['precision', `${precision}; gradients of proxies float32`] as const]),
    ...Object.entries(versions).sort(([a], [b]) => (a < b ? -1 : 1)),
  ];
  return html`<pre><code>${checkout}npm ci
npx ${command} --output run
npx azeotrope report run</code></pre>
<p>The same seeds give the same numbers on the same machine; other processors round differently, and results then agree within their intervals.</p>
<dl>${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
<details><summary>The frozen configuration</summary>
<pre><code>${jsonText(config)}</code></pre></details>
<h3>Citation</h3>
<pre><code>${[softwareCitation(versions.azeotrope ?? 'unknown', commit), ANTIDISTILLATION_CITATION, GAD_CITATION].join('\n\n')}</code></pre>
`;
}

function footerOf({ tradeoff, details }: RunRecords): string {
  const version = details.versions.azeotrope;
  const total = tradeoff.points.reduce((sum, { student }) => sum + student.total, 0);
  return (
    `azeotrope${version ? ` ${version}` : ''}, schema ${tradeoff.schemaVersion}. ${countOf(tradeoff.points.length, 'student')}, ${formatCount(total)} answers` +
    `${details.task.chance === null ? '' : `, guessing ${formatPercent(details.task.chance)} %`}. Made from tradeoff.json and details.json alone.`
  );
}

const present = (figures: readonly (Figure | undefined)[]): Figure[] =>
  figures.filter((figure) => figure !== undefined);
