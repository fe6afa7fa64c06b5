import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { openModel } from '../../jobs/open-model.js';
import { ConfigError } from '../../support/errors.js';
import { WORDS } from '../../tasks/embedded/words.js';
import type { ModelRequest, Purpose, Question } from '../task.js';
import { buildModel } from './build-model.js';
import { configOf, tokenizer } from './models.js';
import { styleOf } from './style-facts.js';
import { openEmbeddedTask } from './task.js';

const PURPOSES: Purpose[] = ['holdout', 'distil', 'calibration', 'validation', 'test', 'sealed'];
const request = (role: ModelRequest['role'], kind = 'default', seed = 1): ModelRequest => ({
  ...{ role, kind, seed, teacherSeed: 1 },
});

test('questions of a purpose begin with the same ones, and no two purposes share one but those that may', async () => {
  const task = await openEmbeddedTask({ kind: 'embedded' });
  const seen = new Map<string, Purpose>();
  for (const purpose of PURPOSES) {
    const many = await task.questions(purpose, 300);
    assert.deepEqual(await task.questions(purpose, 20), many.slice(0, 20));
    assert.deepEqual(await (await openEmbeddedTask({ kind: 'embedded' })).questions(purpose, 5), many.slice(0, 5));
    for (const { text } of many) {
      const other = seen.get(text);
      assert.ok(
        other === undefined || [other, purpose].join() === 'calibration,validation',
        `${text}: ${other}, ${purpose}`,
      );
      seen.set(text, purpose);
    }
  }
});

test('a right end is right, another is wrong, and none is no answer', async () => {
  const task = await openEmbeddedTask({ kind: 'embedded' });
  const question: Question = { id: '1', row: { prompt: '' }, text: '', answer: { start: 3, people: [] } };
  const judged = await task.judge(
    ['end dock', 'end mill', 'end', 'at dock'].map((text) => ({ question, text, finish: 'stop' as const })),
  );
  assert.deepEqual(
    judged.map(({ isCorrect, isParsed }) => [isCorrect, isParsed]),
    [
      [true, true],
      [false, true],
      [false, false],
      [false, false],
    ],
  );
});

test('the shipped models are there, of the sizes and words that the recipes make, and the others are built', async () => {
  const task = await openEmbeddedTask({ kind: 'embedded' });
  const compiler = createCompiler(openRuntime({ threads: 1 }));
  const fingerprints = new Set<string>();
  for (const role of ['teacher', 'proxy', 'student'] as const) {
    for (const seed of [1, 2, 3]) {
      const source = await task.modelSource(request(role, 'default', seed));
      assert.equal(source.kind, 'ready', `${role} ${seed}`);
      if (source.kind !== 'ready') continue;
      const opened = await openModel(source.location, { compiler });
      const { initializerRange: _, ...config } = configOf(role);
      for (const [name, value] of Object.entries(config)) {
        assert.deepEqual(opened.model.config[name as keyof typeof config], value, `${role} ${seed}: ${name}`);
      }
      fingerprints.add(opened.tokenizer!.fingerprint);
      assert.deepEqual(opened.tokenizer!.encode(WORDS.slice(1).join(' ')), tokenizer.encode(WORDS.slice(1).join(' ')));
      assert.equal(opened.tokenizer!.decode([1, 2, 3]), tokenizer.decode([1, 2, 3]));
      opened.dispose();
    }
  }
  assert.equal(fingerprints.size, 1);
  compiler.dispose();
  compiler.runtime.dispose();
  for (const other of [request('teacher', 'default', 9), request('proxy', 'equal'), request('proxy', 'explicit', 2)]) {
    assert.equal((await task.modelSource(other)).kind, 'build');
  }
  const recipes = await Promise.all(
    ['equal', 'explicit'].map(async (kind) => {
      const source = await task.modelSource(request('proxy', kind));
      return source.kind === 'build' ? JSON.stringify(source.recipe) : '';
    }),
  );
  assert.notEqual(recipes[0], recipes[1]);
});

test('kinds that there are not are refused with those that there are', async () => {
  const task = await openEmbeddedTask({ kind: 'embedded' });
  for (const wrong of [request('proxy', 'equl'), request('student', 'equal'), request('teacher', 'holdout')]) {
    await assert.rejects(
      task.modelSource(wrong),
      (error) => error instanceof ConfigError && /default/.test(error.message),
    );
  }
});

test('the proxy that reads the holdout is the default one, moved', async () => {
  const task = await openEmbeddedTask({ kind: 'embedded' });
  const asked = request('proxy', 'holdout');
  const source = await task.modelSource(asked);
  assert.ok(source.kind === 'build' && source.usesHoldout);
  const base = await task.modelSource(source.from[0]);
  assert.ok(base.kind === 'ready');
  const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
  const compiler = createCompiler(openRuntime({ threads: 1 }));
  try {
    const holdout = (await task.questions('holdout', 2)).map((question) => ({
      ...{ question, text: 'at dock xavier red-line to well . end well', finish: 'stop' as const },
    }));
    await buildModel(asked, { compiler, folder, scratch: folder, from: [base.location], holdout });
    const [before, after] = [await openModel(base.location, { compiler }), await openModel(folder, { compiler })];
    const name = 'lm_head.weight';
    assert.notDeepEqual(after.model.parameters.get(name)!.data, before.model.parameters.get(name)!.data);
    const moved = after.model.parameters
      .get(name)!
      .data.map((value, at) => value - before.model.parameters.get(name)!.data[at]);
    assert.ok(Math.max(...moved.map(Math.abs)) < 0.05);
    before.dispose();
    after.dispose();
  } finally {
    rmSync(folder, { recursive: true });
    compiler.dispose();
    compiler.runtime.dispose();
  }
});

test('facts of a style are those counted by hand', () => {
  const texts = [
    'at dock xavier and tim to forge . at forge eric red-line to mill . end mill',
    'at dock xavier and tim red-line blue-line to forge . at forge eric to mill by first . at mill elsa to inn by second . end inn',
    'nothing to read',
  ];
  const style = styleOf(texts);
  assert.equal(style.mergedPerTrace, 2 / 3);
  assert.equal(style.mergedNamedFraction, 1 / 2);
  assert.equal(style.lateFraction, 2 / 3);
  assert.equal(style.namedPerTrace, 5 / 3);
  assert.equal(style.namedPeopleFraction, 4 / 120);
  assert.equal(style.grammaticalFraction, 2 / 3);
  assert.equal(styleOf([]).mergedPerTrace, null);
});
