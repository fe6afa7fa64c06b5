import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createRandom } from '../../src/support/random.js';
import { interrupt, type Row, readRows, run, runJson, start, temporaryFolder } from './program.fixture.js';

const models = fileURLToPath(new URL('../../checkpoints/embedded', import.meta.url));
const folder = temporaryFolder();

const TINY = {
  schemaVersion: 1,
  name: 'tiny',
  task: { kind: 'embedded', models },
  inDistribution: '^parcel at [a-m]',
  precision: 'float32',
  traces: { count: 16 },
  validation: { count: 6 },
  evaluation: { purpose: 'validation', count: 6 },
  sampling: { maxBatch: 16, maxTokens: 12 },
  training: { epochs: 2, batchSize: 4, evaluateEverySteps: 3, checkpointEverySteps: 2 },
  whiteBox: { topK: 8 },
  gad: {
    ...{ epochs: 2, batchPrompts: 8, groupSize: 2, maxTokens: 12, evaluateEverySteps: 2, checkpointEverySteps: 1 },
    warmup: { epochs: 1, discriminatorOnlySteps: 1, groupSize: 1 },
  },
  toySteps: 20,
  variants: [
    { method: 'seqkd', name: 'SeqKD' },
    { method: 'white-box-kd', name: 'KD' },
    { method: 'gkd', name: 'GKD' },
    { method: 'gad', name: 'GAD' },
  ],
};

let numConfigs = 0;

/** JSON is YAML. */
function configFile(changes: object = {}): string {
  const path = join(folder, `config-${numConfigs++}.yaml`);
  writeFileSync(path, JSON.stringify({ ...TINY, ...changes }));
  return path;
}

const config = configFile();
const output = (name: string) => join(folder, name);
const distill = (name: string, file = config) => [
  ...['distill', '--config', file, '--output', output(name), '--threads', '1'],
];

const read = (name: string, file: string): Row => JSON.parse(readFileSync(join(output(name), file), 'utf8'));

/** Rows without what the clock says. */
const rowsOf = (name: string): Row[] => read(name, 'distill.json').rows.map(({ wallMs: _wallMs, ...row }: Row) => row);

const studentFolders = (name: string): string[] => {
  const path = join(output(name), 'students');
  return existsSync(path) ? readdirSync(path).sort() : [];
};

const weightsOf = (name: string): Buffer[] =>
  studentFolders(name).map((student) =>
    readFileSync(join(output(name), 'students', student, 'model', 'model.safetensors')),
  );

describe('methods from the command line', () => {
  const check = (record: Row, report: string, variants: readonly string[]) => {
    assert.deepEqual(
      record.rows.map((row: Row) => row.variant),
      variants,
    );
    assert.deepEqual(read('methods', 'distill.json'), record);
    assert.deepEqual(Object.keys(record).sort(), ['commit', 'rows', 'schemaVersion', 'toy']);
    const page = readFileSync(report, 'utf8');
    assert.ok(page.includes('Responses side by side') && variants.every((variant) => page.includes(variant)));
    assert.equal(studentFolders('methods').length, variants.length);
    for (const student of studentFolders('methods')) {
      const answers = readRows(join(output('methods'), 'students', student, 'responses.jsonl'));
      assert.equal(answers.length, 12);
      assert.ok(answers.every(({ id, prompt, response }) => id && prompt && typeof response === 'string'));
    }
  };

  test('one: its student beside that of sequence-level distillation, a report, and answers to judge', async () => {
    const { distill: record, report } = await runJson([...distill('methods'), '--method', 'gad']);
    check(record, report, ['SeqKD', 'GAD']);
  });

  test('then all: those that are missing', async () => {
    const { distill: record, report } = await runJson(distill('methods'));
    check(record, report, ['SeqKD', 'KD', 'GKD', 'GAD']);
  });

  test('and all of them once more do nothing, and leave the same record', async () => {
    const before = studentFolders('methods');
    const { distill: record } = await runJson(distill('methods'));
    assert.deepEqual(studentFolders('methods'), before);
    assert.equal(record.rows.length, 4);
    const { code, stdout } = await run(['report', output('methods')]);
    assert.equal(code, 0);
    assert.match(stdout, /report\.html/);
  });
});

describe('a run that is broken off', () => {
  test('by SIGKILL anywhere goes on and ends with the same rows and weights', async () => {
    const random = createRandom(Date.now());
    // A random place: so long after a file appears somewhere in the run.
    const target = random.integer(30);
    let numFiles = 0;
    const files = () => {
      try {
        numFiles = readdirSync(output('killed'), { recursive: true }).length;
      } catch {} // a folder went away while it was read, or is not there yet
      return numFiles;
    };
    const before = files();
    const waitMs = random.integer(200);
    let since: number | undefined;
    await interrupt(start(distill('killed')), 'SIGKILL', () => {
      if (since === undefined && files() >= before + target) since = performance.now();
      return since !== undefined && performance.now() - since > waitMs;
    });
    const { code, stderr } = await run(distill('killed'));
    assert.equal(code, 0, stderr);
    assert.deepEqual(rowsOf('killed'), rowsOf('methods'));
    assert.deepEqual(weightsOf('killed'), weightsOf('methods'));
  });

  test('by Ctrl-C, watched in a browser, stops cleanly and says how to go on', async () => {
    const child = start([...distill('stopped'), '--open']);
    let page: string | undefined;
    child.stderr!.setEncoding('utf8').on('data', async (part: string) => {
      const [url] = /http:\/\/127\.0\.0\.1:\d+\//.exec(part) ?? [];
      if (url !== undefined) page = await (await fetch(url)).text();
    });
    const isUnderWay = () => studentFolders('stopped').length > 0 && page !== undefined;
    const { code, stderr } = await interrupt(child, 'SIGINT', isUnderWay);
    assert.equal(code, 130, stderr);
    assert.match(page!, /new EventSource\('events'\)/);
    assert.match(stderr, /Stopped\. What is done is kept; the same command goes on from there\.\n$/);
    assert.ok(!existsSync(join(output('stopped'), 'lock.json')));
  });
});

describe('a teacher behind an endpoint', () => {
  const KEY = 'sk-not-to-be-seen';
  /** Prompts as they were asked, and how many answers are out. */
  const asked: string[] = [];
  let reply = (_prompt: string, response: ServerResponse) => answer(response);
  const answer = (response: ServerResponse) =>
    void response.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        model: 'teacher-2026-01-01',
        choices: [{ message: { role: 'assistant', content: 'at dock end mill' }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 9, completion_tokens: 5 },
      }),
    );
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => {
      body += part;
    });
    request.on('end', () => {
      const prompt = JSON.parse(body).messages[0].content;
      asked.push(prompt);
      reply(prompt, response);
    });
  });
  const listening = new Promise<string>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`));
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  const withEndpoint = configFile({
    variants: [TINY.variants[0]],
    teacher: {
      model: 'teacher',
      concurrency: 2,
      price: { promptPerMillion: 1000, responsePerMillion: 10_000, currency: 'EUR' },
    },
  });
  const ask = async (name: string) => [...distill(name, withEndpoint), '--teacher-url', await listening];
  const options = { env: { AZEOTROPE_API_KEY: KEY } };

  test('is paid for no prompt twice: killed in the middle, the same command asks what is missing', async () => {
    reply = (_prompt, response) => void setTimeout(() => answer(response), 20);
    const path = join(output('paid'), 'traces', 'endpoint.jsonl');
    const numKept = () => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0);
    await interrupt(start(await ask('paid'), options), 'SIGKILL', () => numKept() >= 5);
    const kept = numKept();
    assert.ok(kept >= 5 && kept < 16, `${kept} answers`);
    const { code, stdout, stderr } = await run(await ask('paid'), options);
    assert.equal(code, 0, stderr);
    // Of two requests at a time at most two had no answer on disk.
    assert.equal(new Set(asked).size, 16);
    assert.ok(asked.length <= 16 + 2, `${asked.length} requests for 16 prompts`);
    assert.match(stderr, /\d+ answers were kept from before and cost nothing now\./);
    assert.match(stdout, /The teacher: 16 answers, 144 \+ 80 tokens, 0\.944 EUR \(prompts \+ responses\)/);
    const { spend } = read('paid', 'details.json');
    assert.deepEqual([spend.numAnswers, spend.promptTokens, spend.responseTokens], [16, 144, 80]);
    assert.match(readFileSync(join(output('paid'), 'report.html'), 'utf8'), /0\.944 EUR/);
    const everything = readdirSync(output('paid'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
    for (const text of [...everything, stdout, stderr]) assert.ok(!text.includes(KEY));
    assert.ok(
      everything.some((text) => text.includes('teacher-2026-01-01')),
      'who answered is kept',
    );
  });

  test('that does not answer one prompt stops the run by its id, or is gone on without, by policy', async () => {
    const [unlucky] = asked;
    reply = (prompt, response) =>
      prompt === unlucky ? void response.writeHead(500, { 'retry-after': '0' }).end('oops') : answer(response);
    const stopped = await run(await ask('failing'), options);
    assert.equal(stopped.code, 2);
    assert.match(
      stopped.stderr,
      /prompt 'distil-\d+': status 500: "oops" \(try 8 of 8\)\..*run the same command again/s,
    );
    const { code, stderr } = await run([...(await ask('failing')), '--set', 'teacher.onFailure=skip'], options);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Goes on without distil-\d+ \(teacher\.onFailure is skip\)/);
    const { students, spend } = read('failing', 'details.json');
    assert.deepEqual([students[0].numTraces, spend.numSkipped], [15, 1]);
  });
});

describe('mistakes', () => {
  test('are told before anything is made', async () => {
    const cases: [args: string[], message: RegExp][] = [
      [['--method', 'gadd'], /method.*gad/s],
      [['--teacher-url', 'http://127.0.0.1:1/v1'], /teacher\.url needs teacher\.model \(--teacher-model\)/],
      [['--set', 'gad.epoch=3'], /unknown key "epoch" in gad\. Did you mean "epochs"\?/],
    ];
    const results = await Promise.all(cases.map(([args]) => run([...distill('wrong'), ...args])));
    results.forEach(({ code, stderr }, at) => {
      assert.equal(code, 2, stderr);
      assert.match(stderr, cases[at][1]);
      assert.ok(!stderr.includes('    at '), 'no stack');
    });
    assert.ok(!existsSync(join(output('wrong'), 'students')));
  });
});
