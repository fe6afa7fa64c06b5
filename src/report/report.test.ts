import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseHTML } from 'linkedom';
import { createRandom, shuffle } from '../support/random.js';
import { inventDetails, inventTradeoff } from './records.fixture.js';
import { renderReport } from './report.js';

const tradeoff = inventTradeoff({ teachers: 2, seeds: 2 });
const details = inventDetails();
const report = renderReport({ tradeoff, details });
const documentOf = (html: string) => parseHTML(html).document;
const page = documentOf(report.html);

test('the same records give the same bytes, also through JSON and with points in another order', () => {
  const again = renderReport(JSON.parse(JSON.stringify({ tradeoff, details })));
  assert.deepEqual(again, report);
  const shuffled = { ...tradeoff, points: shuffle(tradeoff.points, createRandom(3)) };
  assert.deepEqual(renderReport({ tradeoff: shuffled, details }), report);
});

test('rules without a model and losses on solutions are told where a run knows them', () => {
  const lossNats = 1.234;
  const points = tradeoff.points.map((point) => ({ ...point, student: { ...point.student, lossNats } }));
  const undistilled = [{ seed: 1, correct: 27, total: 300, lossNats: 3.21 }];
  const baselines = [{ name: 'sum of the numbers', correct: 60, total: 300 }];
  const known = documentOf(renderReport({ tradeoff: { ...tradeoff, points, undistilled, baselines }, details }).html);
  const rowOf = (name: string) =>
    [...known.querySelectorAll('tr')]
      .map((row) => [...row.children].map((cell) => cell.textContent))
      .find(([first]) => first === name);
  assert.deepEqual(rowOf('the student before any trace')?.slice(2), ['300', '3.21']);
  assert.match(rowOf('sum of the numbers')![1]!, /^20.* \(15\.9–24\.9\)$/);
  assert.equal(rowOf('temperature 1')?.at(-1), '1.23');
  assert.doesNotMatch(report.html, /loss on solutions/);
});

test('a page needs nothing from anywhere: no script, no reference out of itself', () => {
  assert.equal(page.querySelectorAll('script, link, iframe, img, object').length, 0);
  assert.doesNotMatch(report.html, /url\(|@import|src=/);
  for (const link of page.querySelectorAll('[href]')) {
    const target = link.getAttribute('href')!;
    assert.ok(target.startsWith('#') && page.getElementById(target.slice(1)), target);
  }
});

test('what a model wrote cannot become markup', () => {
  assert.match(details.traces[3].question, /<script>/);
  assert.match(report.html, /&lt;script&gt;alert\(1\)&lt;\/script&gt; &amp; &quot;tim&quot;/);
});

test('every figure has a title, words for who cannot see it, a table, and two widths', () => {
  const figures = [...page.querySelectorAll('figure')];
  assert.deepEqual(
    figures.map((figure) => figure.id),
    [
      ...['trade-off', 'permutation', 'longer-training', 'adaptive-students', 'proxies'],
      ...['epsilon', 'token-cost', 'stages'],
    ],
  );
  for (const figure of figures) {
    assert.ok(figure.querySelector('h3')!.textContent!.length > 5);
    assert.ok(figure.querySelectorAll('table tbody tr').length > 1);
    const drawings = [...figure.querySelectorAll('[role=img]')];
    assert.equal(drawings.length, 2);
    for (const drawing of drawings) {
      assert.ok(drawing.getAttribute('aria-label')!.length > 60);
      assert.ok(drawing.querySelectorAll('svg > g').length > 3);
    }
  }
});

test('no number of a drawing is missing, and none has more than hundredths of a pixel', () => {
  for (const svg of page.querySelectorAll('svg')) {
    assert.doesNotMatch(svg.outerHTML, /NaN|undefined|Infinity|\d\.\d{3}/);
  }
});

test('tables name their rows and columns, and each row has a cell for each column', () => {
  for (const table of page.querySelectorAll('table')) {
    const numColumns = table.querySelectorAll('thead th[scope=col]').length;
    assert.ok(table.querySelector('caption')!.textContent);
    for (const row of table.querySelectorAll('tbody tr')) {
      assert.equal(row.children.length, numColumns);
      assert.equal(row.children[0].getAttribute('scope'), 'row');
    }
  }
});

test('every student and every setting of the run is in a table', () => {
  const rowsOf = (caption: RegExp) => {
    const table = [...page.querySelectorAll('table')].find((each) =>
      caption.test(each.querySelector('caption')!.textContent!),
    );
    return table!.querySelectorAll('tbody tr').length;
  };
  assert.equal(rowsOf(/^Every student/), tradeoff.points.length);
  assert.equal(rowsOf(/^All settings/), 27);
});

test('what a reader needs to repeat and cite it is there', () => {
  const text = page.querySelector('main')!.textContent!;
  const needed = [
    tradeoff.commit!,
    details.machine.cpu,
    'onnxruntime-node',
    '2504.13146',
    '2511.10643',
    '"learningRate": 0.008',
  ];
  for (const piece of needed) assert.ok(text.includes(piece), piece);
});

test('a quick run and a run in progress say so at the top', () => {
  const noticesOf = (changes: Parameters<typeof inventDetails>[0]) => {
    const few = { ...tradeoff, points: tradeoff.points.slice(0, 4) };
    const { html } = renderReport({ tradeoff: few, details: inventDetails(changes) });
    return [...documentOf(html).querySelectorAll('header .notice')].map((notice) => notice.textContent!);
  };
  assert.deepEqual(noticesOf({}), []);
  assert.match(noticesOf({ isQuick: true }).join(), /^A quick run\./);
  assert.match(noticesOf({ progress: { done: 3, total: 412 } }).join(), /^In progress\. 3 of 412 stages/);
});

test('at every moment of a run there is a page', () => {
  const early = inventDetails({ traces: [], facts: [], stages: [] });
  for (const count of [0, 1, 30]) {
    const part = { ...tradeoff, points: tradeoff.points.slice(0, count), undistilled: [], errorStudy: [], cost: [] };
    const { html, figures } = renderReport({ tradeoff: part, details: early });
    assert.equal(figures.length > 0, count > 0);
    assert.doesNotMatch(html, /NaN|undefined|\[object/);
  }
});

test('a figure of its own is whole SVG without variables, and knows dark screens', () => {
  assert.equal(report.figures.length, 8);
  for (const { name, svg } of report.figures) {
    assert.match(name, /^[a-z-]+\.svg$/);
    assert.match(
      svg,
      /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" role="img" [^>]*><title>[^<]+<\/title><desc>[^<]+<\/desc>/,
    );
    assert.match(svg, /prefers-color-scheme:dark/);
    assert.doesNotMatch(svg, /var\(/);
    const balance = [...svg.matchAll(/<(\/?)[a-z]+[^>]*?(\/?)>/gi)].reduce(
      (depth, [, isEnd, isWhole]) => depth + (isEnd ? -1 : isWhole ? 0 : 1),
      0,
    );
    assert.equal(balance, 0);
  }
});
