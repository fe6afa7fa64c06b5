import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Browser, chromium, type Page } from 'playwright-core';
import { inventDetails, inventTradeoff } from './records.fixture.js';
import { renderReport } from './report.js';
import { serveRun } from './serve-run.js';

const BROWSERS = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];
const executablePath = BROWSERS.find((path) => path !== undefined && existsSync(path));
const skip = executablePath === undefined && 'needs Chromium: install it, or name it in the variable CHROMIUM';

const tradeoff = inventTradeoff();
const { html } = renderReport({ tradeoff, details: inventDetails() });
let browser: Browser;

before(async () => {
  if (executablePath) browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
});
after(() => browser?.close());

async function openPage(width: number, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  page.on('request', ({ url }) => assert.fail(`asked for ${url()}`));
  page.on('console', (message) => assert.fail(message.text()));
  await page.setContent(html);
  return page;
}

/** Runs in the page: pairs of texts of one figure that cover each other, and texts that leave their drawing. */
const FIND_COLLISIONS = `(() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect();
    if (frame.width === 0) continue;
    const texts = [...svg.querySelectorAll('text')].map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }));
    const name = svg.closest('figure').id;
    for (const [index, { text, box }] of texts.entries()) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push(name + ': ' + text + ' leaves the drawing');
      for (const other of texts.slice(index + 1)) {
        const across = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const down = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        if (across > 1 && down > 4) found.push(name + ': ' + text + ' and ' + other.text);
      }
    }
  }
  return found;
})()`;

for (const width of [360, 768, 1280]) {
  test(`at ${width} pixels nothing overflows and no two texts of a figure cover each other`, { skip }, async () => {
    const page = await openPage(width);
    assert.ok(((await page.evaluate('document.documentElement.scrollWidth')) as number) <= width);
    assert.deepEqual(await page.evaluate(FIND_COLLISIONS), []);
    const sizes = (await page.evaluate(
      `[...document.querySelectorAll('svg')].map((svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width).filter((scale) => scale > 0)`,
    )) as number[];
    assert.equal(sizes.length, 8); // of each figure one drawing
    for (const scale of sizes)
      assert.ok(scale > 0.9, `a drawing is scaled to ${scale}: its text is smaller than meant`);
    await page.close();
  });
}

test('on dark screens ground and figures are dark; paper is light, with tables and traces unfolded', {
  skip,
}, async () => {
  const page = await openPage(1280, 'dark');
  const look = `[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('svg [fill="var(--ink)"]')).fill]`;
  assert.deepEqual(await page.evaluate(look), ['rgb(20, 23, 28)', 'rgb(233, 235, 238)']);
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  assert.deepEqual(await page.evaluate(look), ['rgb(255, 255, 255)', 'rgb(27, 31, 38)']);
  const hidden = `[...document.querySelectorAll('table, .trace')].filter((table) => !table.closest('.screen-only')).filter((table) => table.getBoundingClientRect().height === 0 || !table.checkVisibility()).length`;
  assert.equal(await page.evaluate(hidden), 0);
  await page.close();
});

test('a page that is open fills as points arrive, and keeps what its reader has unfolded', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'azeotrope-live-'));
  const writeRecords = (numPoints: number) => {
    writeFileSync(join(folder, 'details.json'), JSON.stringify(inventDetails()));
    writeFileSync(
      join(folder, 'tradeoff.json'),
      JSON.stringify({ ...tradeoff, points: tradeoff.points.slice(0, numPoints) }),
    );
  };
  writeRecords(2);
  const server = await serveRun(folder, { intervalMs: 50 });
  const page = await browser.newPage();
  try {
    await page.goto(server.url);
    await page.click('#trade-off summary');
    await page.waitForTimeout(200); // the stream of events is open
    writeRecords(tradeoff.points.length);
    await page.waitForSelector('#proxies', { timeout: 20_000 });
    assert.deepEqual(
      await page.evaluate(
        `['trade-off', 'proxies'].map((name) => document.querySelector('#' + name + ' details').open)`,
      ),
      [true, false],
    );
  } finally {
    await page.close();
    await server.dispose();
    rmSync(folder, { recursive: true });
  }
});
