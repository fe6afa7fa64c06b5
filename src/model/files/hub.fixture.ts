/** A hub on the loopback, for tests. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ModelLoadError } from '../../support/errors.js';
import { writeCheckpoint } from '../checkpoint-write.js';
import { parseHuggingFaceConfig } from '../hugging-face-config.js';
import { initialParameter, parameterSpecs } from '../parameters.js';
import { fetchFromHub, type HubOptions, parseHubReference } from './hub.js';

const folder = mkdtempSync(join(tmpdir(), 'hub-test-'));
after(() => rmSync(folder, { recursive: true }));
export const COMMIT = 'c0ffee'.padEnd(40, '0');
export const TOKEN = 'secret-token-1234567890';

const config = parseHuggingFaceConfig(
  {
    model_type: 'llama',
    vocab_size: 64,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 2,
  },
  'test',
);
const source = join(folder, 'source');
const tensors = parameterSpecs(config).map((spec) => ({
  ...spec,
  values: initialParameter(spec, config, { normal: Math.random }),
}));
await writeCheckpoint(source, { config, tensors, files: { 'tokenizer.json': '{}' } });
export const published: Record<string, Buffer> = Object.fromEntries(
  readdirSync(source).map((name) => [name, readFileSync(join(source, name))]),
);

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const gitBlob = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

interface Asked {
  url: string;
  range: string | undefined;
  authorization: string | undefined;
}

interface Hub {
  readonly options: HubOptions;
  readonly asked: Asked[];
  readonly cache: string;
  /** Files that are listed and served. */
  files: Record<string, Buffer>;
  /** Called before the standard answer; true where it has answered itself. */
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean;
  close(): Promise<void>;
}

/** A hub on the loopback that publishes one model, `org/model`; large files (weights) carry SHA-256, small ones git's hash. */
async function startHub(): Promise<Hub> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://hub');
    asked.push({ url: url.pathname, range: request.headers.range, authorization: request.headers.authorization });
    if (hub.intercept(request, response)) return;
    if (url.pathname === '/api/models/org/model/revision/main')
      sendJson(response, { _id: '1', id: 'org/model', sha: COMMIT });
    else if (url.pathname.startsWith(`/api/models/org/model/tree/${COMMIT}`)) sendJson(response, listing(hub.files));
    else
      sendFile(
        request,
        response,
        hub.files[decodeURIComponent(url.pathname.replace(`/org/model/resolve/${COMMIT}/`, ''))],
      );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cache = mkdtempSync(join(folder, 'cache-'));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const settings = { endpoint, token: TOKEN, cacheFolder: cache, isOffline: false };
  const hub: Hub = {
    options: { settings, retryDelayMs: 1, maxAttempts: 3 },
    asked,
    cache,
    files: { ...published },
    intercept: () => false,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return hub;
}

export function listing(files: Record<string, Buffer>): object[] {
  return Object.entries(files).map(([path, bytes]) => ({
    type: 'file',
    path,
    size: bytes.length,
    oid: gitBlob(bytes),
    ...(/\.(safetensors|gguf)$/.test(path) && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }),
  }));
}

export function sendJson(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
}

function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined): void {
  if (!bytes) return void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (start > 0) response.writeHead(206, { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` });
  response.end(bytes.subarray(start));
}

export const reference = parseHubReference('org/model')!;
export const isWeights = (request: IncomingMessage) => request.url!.endsWith('/model.safetensors');

/** Runs with a hub of its own. */
export function hubTest(name: string, body: (hub: Hub) => Promise<void>): void {
  test(name, async () => {
    const hub = await startHub();
    try {
      await body(hub);
    } finally {
      await hub.close();
    }
  });
}

export async function failure(
  hub: Hub,
  options: Partial<HubOptions> = {},
  name = 'org/model',
): Promise<ModelLoadError> {
  const outcome = await fetchFromHub(parseHubReference(name)!, { ...hub.options, ...options }).catch(
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof ModelLoadError, `expected a ModelLoadError, got ${String(outcome)}`);
  assert.ok(!outcome.message.includes(TOKEN), 'the token stands in a message');
  return outcome;
}
