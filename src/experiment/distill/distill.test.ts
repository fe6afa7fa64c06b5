import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { machinePrecision } from '../../jobs/open-model.js';
import { openSafetensors } from '../../model/files/safetensors.js';
import { saveTrainedModel } from '../../training/save.js';
import { folderNameOf, freshModel, tokenizerFiles } from '../embedded/models.js';
import { openTask } from '../open-task.js';
import { type DistillConfig, distillSchema, METHODS } from './config.js';
import { planDistill } from './plan-distill.js';
import { splitQuestions } from './questions.js';
import type { DistillOptions } from './run-context.js';
import { runDistill } from './run-distill.js';
import { planStudents, studentKey } from './variants.js';

let folder: string;
let models: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azeotrope-distill-'));
  models = join(folder, 'models');
  const runtime = openRuntime({ threads: 1 });
  const compiler = createCompiler(runtime);
  for (const role of ['teacher', 'student'] as const) {
    const model = freshModel(compiler, role, 1);
    const name = folderNameOf({ role, kind: 'default', seed: 1 });
    await saveTrainedModel(join(models, name), model, { files: tokenizerFiles() });
    model.dispose();
  }
  compiler.dispose();
  runtime.dispose();
});
after(() => rm(folder, { recursive: true }));

const settings = (more: object = {}): DistillConfig =>
  distillSchema.parse({
    schemaVersion: 1,
    name: 'test',
    task: { kind: 'embedded', models },
    inDistribution: '^parcel at [a-m]',
    traces: { count: 8 },
    validation: { count: 4 },
    evaluation: { count: 4 },
    sampling: { maxTokens: 6, maxBatch: 8 },
    training: { epochs: 1, batchSize: 4, microBatchTokens: 64 },
    whiteBox: { topK: 4 },
    gad: {
      epochs: 1,
      batchPrompts: 4,
      groupSize: 2,
      microBatchTokens: 256,
      warmup: { discriminatorOnlySteps: 1, groupSize: 1 },
    },
    toySteps: 20,
    variants: [
      { method: 'seqkd', name: 'SeqKD' },
      { method: 'gkd', name: 'GKD', set: { 'whiteBox.divergence': 'jensenShannon' } },
      { method: 'gad', name: 'GAD' },
      {
        method: 'gad',
        name: 'small',
        set: { 'gad.discriminator.kind': 'convolutional', 'gad.discriminator.convolutionWidth': 4 },
      },
    ],
    ...more,
  });

/** What a row of `distill.json` holds, and nothing else. */
const ROW_KEYS = [
  ...['alarms', 'inDistribution', 'meanLength', 'method', 'outOfDistribution', 'seed', 'tokens', 'variant', 'wallMs'],
];

const run = (config: DistillConfig, output: string, more: Partial<DistillOptions> = {}) =>
  runDistill({
    ...{ config, methods: METHODS, output: join(folder, output), threads: 1 },
    ...{ signal: new AbortController().signal, log: () => {}, onProgress: () => {} },
    ...more,
  });

describe('what a run learns from', () => {
  test('questions that match are in distribution, the others out of it, none in both', async () => {
    const task = await openTask({ kind: 'embedded', models });
    const split = splitQuestions(task, '^parcel at [a-m]', undefined);
    const inside = await split.inside('test', 40);
    const outside = await split.outside('test', 40);
    assert.ok(inside.every(({ text }) => /^parcel at [a-m]/.test(text)) && inside.length === 40);
    assert.ok(outside.every(({ text }) => /^parcel at [^a-m]/.test(text)) && outside.length === 40);
    await assert.rejects(splitQuestions(task, 'no such words', undefined).inside('test', 2), /only 0 match/);
    assert.throws(() => splitQuestions(task, '(', undefined), /not a regular expression/);
  });
});

describe('students of a run', () => {
  test('each variant changes what it names and nothing else; sequence-level students stay to be compared with', () => {
    const students = planStudents(settings({ seeds: [1, 2] }), ['gad']);
    assert.deepEqual(
      students.map(({ variant, seed }) => `${variant} ${seed}`),
      ['SeqKD 1', 'SeqKD 2', 'GAD 1', 'GAD 2', 'small 1', 'small 2'],
    );
    const [, , plain, , small] = students;
    assert.deepEqual(
      { ...small.gad, discriminator: plain.gad.discriminator },
      { ...plain.gad, discriminator: plain.gad.discriminator },
    );
    assert.deepEqual([plain.gad.discriminator.kind, small.gad.discriminator.kind], ['student', 'convolutional']);
    assert.equal(planStudents(settings(), ['gkd']).at(-1)!.whiteBox.studentFraction, 0.5);
  });

  test('a method that is asked for by name and stands in no variant is made as it is', () => {
    const config = settings({ variants: [{ method: 'gad', name: 'GAD' }] });
    const names = (methods: Parameters<typeof planStudents>[1]) =>
      planStudents(config, methods).map(({ method, variant }) => [method, variant]);
    assert.deepEqual(names(METHODS), [['gad', 'GAD']]);
    assert.deepEqual(names(['white-box-kd']), [['white-box-kd', 'white box']]);
  });

  test('a key changes with what the result depends on, and with nothing else', () => {
    const [student] = planStudents(settings(), []);
    const key = studentKey(student, { traces: 'a' });
    assert.notEqual(studentKey(student, { traces: 'b' }), key);
    assert.notEqual(studentKey({ ...student, numTraces: 9 }, { traces: 'a' }), key);
    const renamed = { ...student, variant: 'another name', gad: { ...student.gad, epochs: 9 } };
    assert.equal(studentKey(renamed, { traces: 'a' }), key, 'settings of other methods do not matter');
  });

  test('a place that there is not is refused by name', () => {
    const wrong = (set: object) => () =>
      planStudents(settings({ variants: [{ method: 'gad', name: 'x', set }] }), ['gad']);
    assert.throws(wrong({ 'gad.discriminatr.isFrozen': true }), /Variant 'x': there is no gad\.discriminatr/);
    assert.throws(wrong({ 'gad.discriminator.isFrzn': true }), /isFrzn/);
    assert.throws(wrong({ name: 'y' }), /Places begin with/);
  });
});

describe('recipes', () => {
  test('each holds a run that can be planned without models or data', async () => {
    const recipes = new URL('../../../recipes/', import.meta.url);
    const names = (await readdir(recipes)).filter((name) => name.startsWith('gad-'));
    assert.ok(names.length >= 6);
    const rates = { sampledFlopPerSecond: 1e10, trainedFlopPerSecond: 1e10, source: 'assumed' };
    for (const name of names) {
      const config = distillSchema.parse(parse(await readFile(new URL(name, recipes), 'utf8')));
      const plans = await planDistill(config, METHODS, rates);
      assert.ok(
        plans.every(({ memoryBytes, seconds, numSteps }) => memoryBytes! > 0 && seconds! > 0 && numSteps > 0),
        name,
      );
    }
    const paper = distillSchema.parse(parse(await readFile(new URL('gad-paper-qwen2.5-7b.yaml', recipes), 'utf8')));
    const [text, gad] = await planDistill(paper, ['gad'], rates);
    assert.deepEqual([text.numSteps, gad.numSteps], [3 * 782, 3 * 782]);
    assert.equal(gad.sampledTokens, 3 * 782 * 256 * 8 * 500);
    // Weights, gradients and two moments of 7.6 billion parameters, in float32.
    assert.ok(text.memoryBytes! > 120e9 && gad.memoryBytes! > 2 * text.memoryBytes! - 100e9);
  });
});

describe('a run', () => {
  test('leaves a row for each student, goes on where it was stopped, and does nothing twice', async () => {
    const config = settings({ variants: settings().variants.slice(0, 3) });
    const { distill: whole, details } = await run(config, 'whole');
    assert.deepEqual(
      whole.rows.map(({ variant }) => variant),
      ['SeqKD', 'GKD', 'GAD'],
    );
    for (const row of whole.rows) {
      assert.deepEqual([row.inDistribution.total, row.outOfDistribution!.total], [4, 4]);
      assert.ok(row.meanLength > 0 && row.tokens > 0);
      assert.deepEqual(Object.keys(row).sort(), ROW_KEYS);
    }
    assert.deepEqual(
      details.students.map(({ variant, numTraces, steps, validation }) => [
        variant,
        numTraces,
        steps.length,
        validation?.total,
      ]),
      [
        ['SeqKD', 8, 0, undefined],
        ['GKD', 8, 0, undefined],
        ['GAD', 8, 4, 4],
      ],
    );
    assert.deepEqual(details.progress, { done: 3, total: 3, now: null });
    const shown = ['teacher', 'undistilled', 'SeqKD', 'GKD', 'GAD'];
    assert.ok(details.responses.every(({ answers }) => answers.map(({ name }) => name).join() === shown.join()));
    assert.deepEqual([...new Set(details.responses.map(({ set }) => set))], ['in distribution', 'out of distribution']);
    assert.ok(details.students.every(({ overlap }) => overlap!.numPairs === 4 && overlap!.rougeL <= 1));
    assert.equal(whole.toy!.gad.length, 10);
    const stored = JSON.parse(await readFile(join(folder, 'whole', 'distill.json'), 'utf8'));
    assert.deepEqual(stored, JSON.parse(JSON.stringify(whole)));
    assert.deepEqual(Object.keys(stored).sort(), ['commit', 'rows', 'schemaVersion', 'toy']);

    const controller = new AbortController();
    const stopped = run(config, 'stopped', {
      signal: controller.signal,
      onProgress: ({ name, done }) => void (name.startsWith('GAD') && done === 3 && controller.abort()),
    });
    await assert.rejects(stopped, { name: 'AbortError' });
    let numSteps = 0;
    const { distill: resumed } = await run(config, 'stopped', {
      onProgress: ({ unit }) => {
        if (unit === 'steps') numSteps += 1;
      },
    });
    const timeless = (distill: typeof whole) => distill.rows.map(({ wallMs, ...row }) => row);
    assert.deepEqual(timeless(resumed), timeless(whole));
    assert.equal(numSteps, 1, 'the last step of one student');
    const weightsOf = async (output: string) => {
      const students = await readdir(join(folder, output, 'students'));
      return Promise.all(
        students.sort().map((name) => readFile(join(folder, output, 'students', name, 'model', 'model.safetensors'))),
      );
    };
    assert.deepEqual(await weightsOf('stopped'), await weightsOf('whole'));
    assert.ok(!existsSync(join(folder, 'whole', 'students', 'checkpoints')));
  });

  test('in another precision it makes students of its own, and says so', async () => {
    const variants = settings().variants.slice(2, 3);
    const asked = { ...settings({ variants, precision: 'bfloat16' }), toySteps: 0 };
    const { details } = await run(asked, 'precisions');
    const computed = machinePrecision('bfloat16');
    assert.equal(details.precision, computed);
    const [{ steps }] = details.students;
    const first = steps.find(({ phase }) => phase === 'adversarial')!;
    assert.deepEqual([first.klNats, first.clippedFraction], [0, 0]);
    const { details: again } = await run({ ...asked, precision: 'float32' }, 'precisions');
    assert.equal(again.precision, 'float32');
    const students = await readdir(join(folder, 'precisions', 'students'));
    assert.equal(students.length, computed === 'float32' ? 1 : 2);
  });

  test('adapters of a student are trained alone by every method, kept, and merged into what is kept', async () => {
    const lora = { rank: 2, alpha: 4, targetModules: ['q_proj' as const] };
    const plain = settings();
    const config = { ...plain, training: { ...plain.training, lora }, variants: plain.variants.slice(0, 3) };
    const { distill } = await run(config, 'adapters');
    assert.equal(distill.rows.length, 3);
    const base = join(models, folderNameOf({ role: 'student', kind: 'default', seed: 1 }), 'model.safetensors');
    for (const name of await readdir(join(folder, 'adapters', 'students'))) {
      const student = join(folder, 'adapters', 'students', name);
      assert.ok(existsSync(join(student, 'adapter', 'adapter_model.safetensors')));
      const [own, before] = [join(student, 'model', 'model.safetensors'), base].map((path) => openSafetensors(path));
      const isEqual = (tensor: string) => {
        const [a, b] = [own, before].map((file) => {
          const values = new Float32Array(file.tensors.get(tensor)!.shape.reduce((size, extent) => size * extent, 1));
          file.read(tensor, values);
          return values;
        });
        return a.every((value, at) => value === b[at]);
      };
      const changed = [...own.tensors.keys()].filter((tensor) => !isEqual(tensor));
      assert.ok(changed.length > 0 && changed.every((tensor) => tensor.includes('q_proj')), `${name}: ${changed}`);
      for (const file of [own, before]) file.dispose();
    }
  });

  test('of supervised students too the best on the validation split is kept, where steps are scored', async () => {
    const plain = settings();
    const training = { ...plain.training, epochs: 3, evaluateEverySteps: 2, checkpointEverySteps: 1 };
    const config = { ...plain, training, variants: plain.variants.slice(0, 1) };
    const { details } = await run(config, 'selected');
    const [{ validation, validations }] = details.students;
    assert.deepEqual(
      validations.map(({ step }) => step),
      [2, 4, 6],
    );
    const highest = Math.max(...validations.map(({ correct }) => correct));
    assert.deepEqual(
      validation,
      validations.find(({ correct }) => correct === highest),
    );
  });

  test('a teacher of whom only text is known teaches by text, and says why by nothing else', async () => {
    const task = await openTask({ kind: 'embedded', models });
    const asked = await splitQuestions(task, '^parcel at [a-m]', undefined).inside('distil', 8);
    const path = join(folder, 'responses.jsonl');
    await writeFile(path, asked.map(({ id }) => `${JSON.stringify({ id, text: 'end dock' })}\n`).join(''));
    const text = settings({ teacher: { traces: path }, variants: [{ method: 'seqkd', name: 'SeqKD' }] });
    const {
      distill: { rows },
      details,
    } = await run(text, 'text');
    assert.equal(details.teacher, null);
    assert.equal(rows[0].tokens, 8 * 3, 'two words and the end');
    const white = settings({ teacher: { traces: path }, variants: [{ method: 'gkd', name: 'GKD' }] });
    await assert.rejects(run(white, 'text'), /needs the teacher's weights/);
    await assert.rejects(run({ ...text, traces: { count: 9 } }, 'text'), /there is no response to the question/);
  });
});
