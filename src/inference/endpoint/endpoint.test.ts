import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ConfigError, DataError } from '../../support/errors.js';
import { askAll } from './ask-all.js';
import { createChatClient } from './chat-client.js';
import { createEndpointResponder } from './responders.js';

const KEY = 'sk-very-secret-key';
type Reply = (request: IncomingMessage, response: ServerResponse) => void;

const answer = (content: string) =>
  JSON.stringify({
    choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 3, completion_tokens: 2 },
  });
const status =
  (code: number, text: string, headers: Record<string, string> = {}): Reply =>
  (_, response) =>
    void response.writeHead(code, headers).end(text);
const ok = (content: string): Reply => status(200, answer(content));
const destroyed: Reply = (_, response) => {
  response.writeHead(200, { 'content-length': '1000' });
  response.write('{"choices"', () => response.destroy());
};
const silent: Reply = () => {};

let replies: Reply[] = [];
let bodies: { messages: { content: string }[]; model: string }[] = [];
const server = createServer((request, response) => {
  let text = '';
  request.on('data', (chunk) => {
    text += chunk;
  });
  request.on('end', () => {
    bodies.push(JSON.parse(text));
    assert.equal(request.headers.authorization, `Bearer ${KEY}`);
    (replies.shift() ?? ok('default'))(request, response);
  });
});
let url: string;
let folder: string;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  folder = await mkdtemp(join(tmpdir(), 'azeotrope-endpoint-'));
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

const waits: number[] = [];
const notices: string[] = [];
const options = (more: object = {}) => ({
  url,
  model: 'teacher-1',
  apiKey: KEY,
  temperature: 0.7,
  maxTokens: 16,
  timeoutMs: 300,
  sleep: async (durationMs: number) => void waits.push(durationMs),
  log: (message: string) => void notices.push(message),
  ...more,
});
const prompt = (id: string, content = 'hello') => ({ id, messages: [{ role: 'user', content }] });
const start = (...next: Reply[]) => {
  replies = next;
  bodies = [];
  waits.length = 0;
  notices.length = 0;
};

describe('a request to an endpoint', () => {
  test('is tried again after every failure that may pass, with growing waits', async () => {
    start(
      status(500, 'oops'),
      status(429, 'slow down', { 'retry-after': '7' }),
      destroyed,
      silent,
      status(200, '{"choices": [{"mess'),
      status(200, '{"choices": []}'),
      ok('at last'),
    );
    const { text, finish, promptTokens, completionTokens } = await createChatClient(options()).complete(prompt('p1'));
    assert.deepEqual([text, finish, promptTokens, completionTokens], ['at last', 'stop', 3, 2]);
    assert.deepEqual(waits, [1000, 7000, 4000, 8000, 16_000, 32_000]);
    assert.equal(notices.length, 6);
    assert.ok(notices.every((notice) => notice.includes("prompt 'p1'")));
  });

  test('outlives an endpoint that is down for a minute; the waits have a limit', async () => {
    start(...Array.from({ length: 8 }, () => status(503, 'down')));
    await assert.rejects(createChatClient(options()).complete(prompt('p2')), (error: unknown) => {
      assert.ok(error instanceof DataError);
      assert.match(error.message, /prompt 'p2': status 503: "down" \(try 8 of 8\)/);
      return true;
    });
    assert.ok(waits.reduce((sum, wait) => sum + wait, 0) > 120_000);
    assert.equal(Math.max(...waits), 60_000);
  });

  test('is not tried again where that is hopeless; the key stands in no message, whoever says it', async () => {
    start(status(401, `bad key ${KEY}`));
    await assert.rejects(createChatClient(options()).complete(prompt('p3')), (error: unknown) => {
      assert.ok(error instanceof ConfigError && !error.message.includes(KEY));
      assert.match(error.message, /bad key \*\*\*.*AZEOTROPE_API_KEY/);
      return true;
    });
    start(status(500, KEY), status(404, 'no such model'));
    await assert.rejects(createChatClient(options()).complete(prompt('p4')), /no such model.*name of the model/);
    assert.ok(!notices.join().includes(KEY));
    assert.equal(bodies.length, 2);
  });

  test('keeps to a number of requests a minute', async () => {
    start();
    const client = createChatClient(options({ requestsPerMinute: 60 }));
    await Promise.all(['a', 'b', 'c'].map((id) => client.complete(prompt(id))));
    assert.deepEqual(
      waits.map((wait) => Math.round(wait / 1000)),
      [1, 2],
    );
  });
});

describe('many requests', () => {
  const rows = ['one', 'two', 'three', 'four'].map((content, at) => prompt(`row-${at}`, content));

  test('are answered once: what was answered before a failure is not asked again', async () => {
    const path = join(folder, 'answers.jsonl');
    start(ok('1'), ok('2'), status(404, 'gone'));
    const responder = createEndpointResponder({ ...options(), concurrency: 1 });
    await assert.rejects(askAll(responder, rows, { path }), /gone/);
    await appendFile(path, '{"key": "torn');
    start(ok('3'), ok('4'));
    const { answers, failures, numKept } = await askAll(responder, rows, { path });
    assert.deepEqual([numKept, failures.length], [2, 0]);
    assert.deepEqual(
      rows.map(({ id }) => answers.get(id)!.text),
      ['1', '2', '3', '4'],
    );
    assert.deepEqual(
      bodies.map(({ messages }) => messages[0].content),
      ['three', 'four'],
    );
    assert.ok(!(await readFile(path, 'utf8')).includes(KEY));
    start();
    assert.equal((await askAll(responder, rows, { path })).numKept, 4);
    assert.equal(bodies.length, 0, 'nobody was asked');
    const other = createEndpointResponder({ ...options({ temperature: 0 }), concurrency: 2 });
    assert.equal((await askAll(other, rows, { path })).numKept, 0, 'another temperature is another answer');
  });

  test('with the same messages are one: it is asked and paid for once', async () => {
    start(ok('same'));
    const responder = createEndpointResponder({ ...options(), concurrency: 4 });
    const twice = [prompt('a', 'equal'), prompt('b', 'equal')];
    const { answers } = await askAll(responder, twice, { path: join(folder, 'twice.jsonl') });
    assert.equal(bodies.length, 1);
    assert.deepEqual(
      twice.map(({ id }) => [answers.get(id)!.id, answers.get(id)!.text]),
      [
        ['a', 'same'],
        ['b', 'same'],
      ],
    );
    start(status(500, 'x'));
    const failing = createEndpointResponder({ ...options({ maxAttempts: 1 }), concurrency: 1 });
    const missed = [prompt('c', 'missed'), prompt('d', 'missed')];
    const { failures } = await askAll(failing, missed, { path: join(folder, 'missed.jsonl') });
    assert.deepEqual(
      failures.map(({ id }) => id),
      ['c', 'd'],
    );
  });

  test('a wait for another try ends when the run is stopped', async () => {
    start(status(503, 'down'));
    const controller = new AbortController();
    const { sleep: _sleep, ...patient } = options();
    const asked = createChatClient(patient).complete(prompt('waiting'), controller.signal);
    while (notices.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const before = performance.now();
    controller.abort();
    await assert.rejects(asked);
    assert.ok(performance.now() - before < 500);
  });

  test('one that cannot be answered is told by its id, the others are answered', async () => {
    start(status(500, 'x'), status(500, 'y'), ok('b'));
    const responder = createEndpointResponder({ ...options({ maxAttempts: 2 }), concurrency: 1 });
    const { answers, failures } = await askAll(responder, rows.slice(0, 2), { path: join(folder, 'partial.jsonl') });
    assert.deepEqual([...answers.keys()], ['row-1']);
    assert.equal(failures[0].id, 'row-0');
    assert.match(failures[0].message, /status 500/);
  });
});
