import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createRandom } from '../../src/support/random.js';
import { finish, type Row, run, runJson, start, temporaryFolder } from './program.fixture.js';

const models = fileURLToPath(new URL('../../checkpoints/embedded', import.meta.url));
const folder = temporaryFolder();

const TINY = {
  schemaVersion: 1,
  name: 'tiny',
  task: { kind: 'embedded', models },
  replicates: [{ teacher: 1, seed: 1 }],
  sampling: { maxBatch: 32, chunk: 32 },
  holdout: { count: 32 },
  calibration: { count: 16, tolerance: 0.3 },
  traces: { count: 64 },
  evaluation: { purpose: 'validation', count: 16 },
  portraits: { count: 8 },
  training: { epochs: 2, batchSize: 16, learningRate: 8e-3, checkpointEverySteps: 2 },
  shownTraces: 1,
  arms: [
    { arm: 'temperature' },
    { arm: 'antidistillation', strength: { budgetNats: 0.1 }, students: [{}, { attack: 'explicitSteps' }] },
    { arm: 'rule', words: ['and'] },
  ],
};

let numConfigs = 0;

/** JSON is YAML. */
function configFile(changes: object = {}): string {
  const path = join(folder, `config-${numConfigs++}.yaml`);
  writeFileSync(path, JSON.stringify({ ...TINY, ...changes }));
  return path;
}

const output = (name: string) => join(folder, name);
const config = configFile();
const tradeoff = (name: string, file = config) => ['tradeoff', '--config', file, '--output', output(name)];

const read = (name: string, file: string): Row => JSON.parse(readFileSync(join(output(name), file), 'utf8'));

/** The tables without what the clock says. */
function tables(name: string): Row {
  const { points, ...rest } = read(name, 'tradeoff.json');
  return { ...rest, points: points.map(({ wallMs: _wallMs, ...point }: Row) => point) };
}

const stagesDone = (name: string): string[] => {
  const stages = join(output(name), 'stages');
  return existsSync(stages)
    ? readdirSync(stages)
        .filter((each) => !each.startsWith('.'))
        .sort()
    : [];
};

/** Enough where the tables do not matter. */
const small = configFile({ arms: [{ arm: 'temperature' }] });

const whole = await runJson(tradeoff('whole'));

describe('a run', () => {
  test('has a point for each student, and everything that the report is made of', () => {
    const { tradeoff: written, details, report } = whole;
    assert.deepEqual(
      written.points.map(({ arm, attack, teacher, student }: Row) => [arm, attack, teacher.total, student.total]),
      [
        ['temperature', null, 16, 16],
        ['antidistillation', null, 16, 16],
        ['antidistillation', 'explicitSteps', 16, 16],
        ['rule', null, 16, 16],
      ],
    );
    const [, defended] = written.points;
    assert.ok(Math.abs(defended.meanKlNats / 0.1 - 1) < 0.6 && defended.settings.lambda > 0);
    assert.equal(written.points[0].meanKlNats, null);
    assert.deepEqual([written.undistilled.length, written.errorStudy.length > 3], [1, true]);
    assert.deepEqual(details.progress, { done: details.progress.total, total: details.progress.total });
    assert.ok(details.facts.length > 0 && details.traces.length === 3 && details.versions.onnxruntime);
    for (const { wallMs, engineMs } of details.stages) assert.ok(engineMs >= 0 && engineMs <= wallMs);
    assert.match(readFileSync(report, 'utf8'), /^<!doctype html>/i);
    assert.deepEqual(readdirSync(output('whole')).sort(), [
      ...['details.json', 'figures', 'report.html', 'run.json', 'stages', 'tradeoff.json'],
    ]);
  });

  test('done again does nothing and says the same', async () => {
    const before = [readFileSync(join(output('whole'), 'tradeoff.json'), 'utf8'), stagesDone('whole')];
    const { code, stdout } = await run(tradeoff('whole'));
    assert.equal(code, 0);
    assert.deepEqual([readFileSync(join(output('whole'), 'tradeoff.json'), 'utf8'), stagesDone('whole')], before);
    assert.match(stdout, /antidistillation, 0\.1 nats +\d/);
    assert.match(stdout, /Report: .*report\.html\n +file:\/\/\/.*report\.html\n$/);
  });

  test('with another setting does again only what depends on it', async () => {
    const before = new Set(stagesDone('whole'));
    const changed = configFile({ evaluation: { purpose: 'validation', count: 12 } });
    await runJson(tradeoff('whole', changed));
    const added = stagesDone('whole').filter((id) => !before.has(id));
    assert.deepEqual([...new Set(added.map((id) => id.split('-')[0]))], ['evaluation', 'traces']);
    assert.equal(added.filter((id) => id.startsWith('traces')).length, 3); // the teacher's answers under each arm
    assert.deepEqual(read('whole', 'run.json').config.evaluation.count, 12);
    await runJson(tradeoff('whole'));
  });
});

describe('a run that is broken off', () => {
  test('by SIGKILL at any moment goes on and ends with the same tables', async () => {
    const random = createRandom(Date.now());
    const stages = new Set<number>();
    for (let attempt = 0; attempt < 2; attempt++) {
      const child = start(tradeoff('killed'));
      const target = 1 + stagesDone('killed').length + random.integer(4);
      const timer = setInterval(() => {
        if (stagesDone('killed').length >= target) setTimeout(() => child.kill('SIGKILL'), random.integer(300));
      }, 5);
      await finish(child);
      clearInterval(timer);
      stages.add(stagesDone('killed').length);
    }
    assert.ok([...stages].some((count) => count > 0));
    const { code, stderr } = await run(tradeoff('killed'));
    assert.equal(code, 0, stderr);
    assert.deepEqual(tables('killed'), tables('whole'));
    assert.deepEqual(stagesDone('killed').length, read('killed', 'details.json').progress.total);
  });

  test('by Ctrl-C stops cleanly and says how to go on', async () => {
    const child = start(tradeoff('stopped', small));
    const timer = setInterval(() => {
      if (stagesDone('stopped').length < 1) return;
      clearInterval(timer);
      child.kill('SIGINT');
    }, 5);
    const { code, stderr } = await finish(child);
    assert.equal(code, 130);
    assert.match(stderr, /Stopped\. What is done is kept; the same command goes on from there\.\n$/);
    assert.ok(!existsSync(join(output('stopped'), 'lock.json')));
  });

  test('by the death of a process that computes names the stage, exits 2 and loses nothing', async () => {
    const numBefore = stagesDone('stopped').length;
    const child = start([...tradeoff('stopped', small), '--workers', '1']);
    const timer = setInterval(() => {
      const lock = join(output('stopped'), 'lock.json');
      const [worker] = existsSync(lock) ? JSON.parse(readFileSync(lock, 'utf8')).workers : [];
      if (worker === undefined || stagesDone('stopped').length === numBefore) return;
      clearInterval(timer);
      process.kill(worker.pid, 'SIGKILL');
    }, 5);
    const { code, stderr } = await finish(child);
    clearInterval(timer);
    assert.equal(code, 2, stderr);
    assert.match(
      stderr,
      /azeotrope: .+teacher 1.+: The process \d+ that worked on this was ended by SIGKILL.*What is done is kept/,
    );
  });

  test('by a full disk says so, exits 2 and goes on when there is room', async () => {
    const limited = { shell: 'trap "" XFSZ; ulimit -f 24' }; // blocks of 1 KiB
    const { code, stderr } = await run(tradeoff('full', small), limited);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /Cannot write .*: the disk is full \(EFBIG\)\. Free some space, then run the command again\./);
    assert.ok(!existsSync(join(output('full'), 'lock.json')));
    for (const id of stagesDone('full')) {
      assert.ok(existsSync(join(output('full'), 'stages', id, 'record.json')), id);
    }
  });
});

test('of two at once on one folder the second waits, and finds everything done', async () => {
  const [first, second] = [start(tradeoff('shared', small)), start(tradeoff('shared', small))];
  const results = await Promise.all([finish(first), finish(second)]);
  assert.deepEqual(
    results.map(({ code }) => code),
    [0, 0],
  );
  const waited = results.filter(({ stderr }) => /is in use by process \d+ since .*Waiting for it/.test(stderr));
  assert.equal(waited.length, 1);
  const alone = tables('whole').points.filter(({ arm }: Row) => arm === 'temperature');
  assert.deepEqual(tables('shared').points, alone);
});

describe('a run folder', () => {
  test('of an older schema is refused, and nothing in it is touched', async () => {
    const at = output('shared');
    const runFile = join(at, 'run.json');
    const before = readFileSync(runFile, 'utf8');
    writeFileSync(runFile, before.replace('"schemaVersion": 1', '"schemaVersion": 0'));
    const listed = readdirSync(at, { recursive: true }).sort();
    const { code, stderr } = await run(tradeoff('shared', small));
    assert.equal(code, 2);
    assert.match(
      stderr,
      /holds a run of schema version 0; this program .* writes version 1\. Nothing in it was touched\./,
    );
    assert.deepEqual(readdirSync(at, { recursive: true }).sort(), listed);
  });

  test('that is a file, or holds something else, is refused', async () => {
    writeFileSync(output('file'), '');
    const { code, stderr } = await run(tradeoff('file'));
    assert.equal(code, 2);
    assert.match(stderr, /azeotrope: .*file/);
  });
});

test('answers of which none can be read end the run with one of them, before any student is trained', async () => {
  const { code, stderr } = await run(tradeoff('unread', configFile({ sampling: { maxBatch: 32, maxTokens: 2 } })));
  assert.equal(code, 2, stderr);
  assert.match(stderr, /None of the teacher's \d+ answers \(.+\) could be read as an answer.*One of them: "/);
  assert.ok(!stagesDone('unread').some((id) => id.startsWith('student')));
});

test('a configuration that is wrong is told line by line, before anything is made', async () => {
  const path = join(folder, 'wrong.yaml');
  const lines = [
    'schemaVersion: 1',
    'name: wrong',
    'task: { kind: embedded }',
    'replicates: [{ teacher: 1, seed: 1 }]',
    'traces: { count: 0 }',
    'training: {}',
    'arms:',
    '  - { arm: temperature, temprature: 2 }',
    '  - { arm: antidistillation, strength: { nats: 1 } }',
  ];
  writeFileSync(path, lines.join('\n'));
  const { code, stderr } = await run(tradeoff('wrong', path));
  assert.equal(code, 2);
  assert.match(stderr, /wrong\.yaml:5: traces\.count: /);
  assert.match(stderr, /wrong\.yaml:8: unknown key "temprature" in arms\[0\]\. Did you mean "temperature"\?/);
  assert.match(stderr, /wrong\.yaml:9: arms\[1\]\.strength: expected one of lambda, budgetNats/);
  assert.ok(!existsSync(output('wrong')));
});
