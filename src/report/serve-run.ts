/** The page of a run over HTTP, filling while the run lasts: for this machine only. */
import { statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AzeotropeError, ConfigError } from '../support/errors.js';
import { html } from './html.js';
import { type Page, pageBody, pageDocument } from './page.js';
import { reportPage } from './report.js';
import { readRecords, recordFiles } from './run-records.js';

export interface RunServer {
  readonly url: string;
  /** Stops serving; open pages keep what they show. */
  readonly dispose: () => Promise<void>;
}

/** What makes a page of the records of a kind of run. */
export interface PageSource {
  /** Above the headline of a page that has no records yet: which kind of run. */
  readonly eyebrow: string;
  /** Files that a page is made from; their times tell when it is to be made again. */
  files(folder: string): readonly string[];
  page(folder: string): Promise<Page>;
}

export interface ServeOptions {
  /** Default: those of a trade-off run. */
  readonly records?: PageSource;
  /** 0 takes one that is free. */
  readonly port?: number;
  /** How often the records are looked at, and so how often at most a page is made again. */
  readonly intervalMs?: number;
}

const TRADEOFF_PAGES: PageSource = {
  eyebrow: 'azeotrope · trade-off run',
  files: recordFiles,
  page: async (folder) => reportPage(await readRecords(folder)).page,
};

const HOST = '127.0.0.1';

/**
 * Serves the page of a run folder, which need not exist yet: `/` is the page, `/body` what changes of it, `/events` an event stream
 * (server-sent events) with a message whenever the records have changed.
 * @throws ConfigError where the port is taken or may not be used
 */
export async function serveRun(
  folder: string,
  { port = 0, intervalMs = 4000, records = TRADEOFF_PAGES }: ServeOptions = {},
): Promise<RunServer> {
  const readers = new Set<ServerResponse>();
  let known = versionOf(records.files(folder));
  let made: { version: string; page: Promise<Page> } | undefined;

  // One page for all who ask between two changes: making it takes half a second.
  const currentPage = (): Promise<Page> => {
    const version = versionOf(records.files(folder));
    if (made?.version !== version) made = { version, page: makePage(folder, records) };
    return made.page;
  };

  const server = createServer((request, response) => {
    answer(request, response, { currentPage, readers }).catch((error: unknown) => {
      response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' }).end(String(error));
    });
  });
  const timer = setInterval(() => {
    const version = versionOf(records.files(folder));
    if (version === known) return;
    known = version;
    for (const reader of readers) reader.write('data: changed\n\n');
  }, intervalMs);
  timer.unref();

  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      clearInterval(timer);
      reject(
        new ConfigError(
          `Cannot serve on port ${port}: ${error.message}. Name another port, or none to have one chosen.`,
        ),
      );
    });
    server.listen(port, HOST, resolve);
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}/`,
    dispose: () =>
      new Promise((resolve) => {
        clearInterval(timer);
        for (const reader of readers) reader.end();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Serving {
  readonly currentPage: () => Promise<Page>;
  readonly readers: Set<ServerResponse>;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { currentPage, readers }: Serving,
): Promise<void> {
  const plain = { 'content-type': 'text/plain; charset=utf-8' };
  // A page of another site must not read this one under a name of its own that leads here.
  if (!/^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(request.headers.host ?? '')) {
    response.writeHead(403, plain).end('This page is for its own machine only.\n');
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { ...plain, allow: 'GET, HEAD' }).end('This page can only be read.\n');
    return;
  }
  const headers = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' };
  switch (new URL(request.url ?? '/', 'http://localhost').pathname) {
    case '/':
      response.writeHead(200, headers).end(pageDocument(await currentPage(), { script: LIVE_SCRIPT }));
      return;
    case '/body':
      response.writeHead(200, headers).end(pageBody(await currentPage()));
      return;
    case '/events':
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.write('retry: 2000\n\n');
      readers.add(response);
      response.on('close', () => readers.delete(response));
      return;
    default:
      response.writeHead(404, plain).end('There is nothing here.\n');
  }
}

async function makePage(folder: string, records: PageSource): Promise<Page> {
  const plainPage = (headline: string, verdict: string): Page => ({
    ...{ title: headline, eyebrow: records.eyebrow, headline, verdict },
    ...{ notices: [], lead: html``, sections: [], footer: '' },
  });
  try {
    if (versionOf(records.files(folder)) !== NO_RECORDS) return await records.page(folder);
    return plainPage('The run is starting.', 'Figures appear with its first results.');
  } catch (error) {
    if (error instanceof AzeotropeError) return plainPage('The run cannot be shown.', error.message);
    throw error;
  }
}

const NO_RECORDS = 'none';

/** When the records were last written: changes with each of them. */
function versionOf(files: readonly string[]): string {
  try {
    return files.map((path) => statSync(path).mtimeMs).join('-');
  } catch {
    return NO_RECORDS; // one is not there yet, or went away with the folder
  }
}

/** Swaps what changed and keeps what the reader has unfolded and where they are. */
const LIVE_SCRIPT = `
const keyOf = (details) => (details.closest('figure')?.id ?? '') + details.querySelector('summary').textContent.replace(/[0-9]+/g, '');
async function refresh() {
  const response = await fetch('body').catch(() => undefined);
  if (!response?.ok) return;
  const text = await response.text();
  const isOpen = new Map([...document.querySelectorAll('details')].map((details) => [keyOf(details), details.open]));
  const place = scrollY;
  document.body.innerHTML = text;
  for (const details of document.querySelectorAll('details')) details.open = isOpen.get(keyOf(details)) ?? details.open;
  scrollTo(0, place);
}
new EventSource('events').onmessage = refresh;
`;
