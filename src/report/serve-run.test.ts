import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError } from '../support/errors.js';
import { inventDetails, inventTradeoff } from './records.fixture.js';
import { renderReport } from './report.js';
import { serveRun } from './serve-run.js';

const root = mkdtempSync(join(tmpdir(), 'azeotrope-serve-'));
after(() => rmSync(root, { recursive: true, force: true }));

const tradeoff = inventTradeoff({ teachers: 1, seeds: 1 });

function writeRecords(folder: string, numPoints: number): void {
  const details = inventDetails({ progress: { done: numPoints, total: 27 } });
  const part = { ...tradeoff, points: tradeoff.points.slice(0, numPoints) };
  writeFileSync(join(folder, 'details.json'), JSON.stringify(details));
  writeFileSync(join(folder, 'tradeoff.json'), JSON.stringify(part));
}

const textOf = async (url: string) => (await fetch(url)).text();

/** Status of a request under another name of the host. */
const statusUnder = (url: string, host: string) =>
  new Promise<number>((resolve, reject) => {
    request(url, { headers: { host } }, (response) => resolve(response.resume().statusCode!))
      .on('error', reject)
      .end();
  });

test('a page waits for its run, is told of each change, and ends as the report', async () => {
  const folder = mkdtempSync(join(root, 'run-'));
  const server = await serveRun(folder, { intervalMs: 20 });
  try {
    assert.match(await textOf(server.url), /The run is starting\./);
    const events = (await fetch(`${server.url}events`)).body!.getReader();
    const decoder = new TextDecoder();
    const nextChange = async () => {
      while (!decoder.decode((await events.read()).value).includes('data: changed'));
    };
    for (const numPoints of [3, 27]) {
      const told = nextChange();
      writeRecords(folder, numPoints);
      await told;
      assert.equal((await textOf(`${server.url}body`)).includes('In progress.'), numPoints < 27);
    }
    const { html } = renderReport({ tradeoff, details: inventDetails({ progress: { done: 27, total: 27 } }) });
    assert.ok(html.includes(await textOf(`${server.url}body`)));
    assert.match(await textOf(server.url), /new EventSource\('events'\)/);
  } finally {
    await server.dispose();
  }
  await assert.rejects(fetch(server.url));
});

test('records that cannot be read are a page that says so, and the server goes on', async () => {
  const folder = mkdtempSync(join(root, 'run-'));
  writeFileSync(join(folder, 'details.json'), '{}');
  writeFileSync(join(folder, 'tradeoff.json'), '{"schemaVersion":7}');
  const server = await serveRun(folder);
  try {
    assert.match(await textOf(server.url), /cannot be shown[\s\S]*schema version 7/);
    writeRecords(folder, 1);
    assert.match(await textOf(server.url), /In progress/);
  } finally {
    await server.dispose();
  }
});

test('only this machine is answered, only reading, and only what there is', async () => {
  const server = await serveRun(mkdtempSync(join(root, 'run-')));
  try {
    assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
    assert.deepEqual(
      await Promise.all([
        statusUnder(server.url, 'evil.example'),
        statusUnder(server.url, 'localhost:1234'),
        fetch(server.url, { method: 'POST' }).then(({ status }) => status),
        fetch(`${server.url}../details.json`).then(({ status }) => status),
      ]),
      [403, 200, 405, 404],
    );
  } finally {
    await server.dispose();
  }
});

test('a port that is taken is a message', async () => {
  const folder = mkdtempSync(join(root, 'run-'));
  const server = await serveRun(folder);
  try {
    const port = Number(new URL(server.url).port);
    await assert.rejects(
      serveRun(folder, { port }),
      (error: unknown) => error instanceof ConfigError && /port \d+/.test(error.message),
    );
  } finally {
    await server.dispose();
  }
});
