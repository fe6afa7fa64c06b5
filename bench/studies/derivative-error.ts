/**
 * How exact Δ is by each estimator and precision, and what its error does to the sampled distribution:
 *   npx tsx bench/studies/derivative-error.ts --output bench/results/derivative-error [--model FILE.gguf --rows gsm8k.jsonl]
 * The shipped embedded models (three seeds), and a real model as its own proxy where files are given.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Compiler, createCompiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { openRuntime } from '../../src/engine/runtime/open.js';
import { runSchema } from '../../src/experiment/config.js';
import { openTask } from '../../src/experiment/open-task.js';
import { ask } from '../../src/experiment/stages/ask.js';
import { createGenerator } from '../../src/inference/generator.js';
import { type OpenedModel, openModel } from '../../src/jobs/open-model.js';
import { createProxy } from '../../src/methods/antidistillation/create-proxy.js';
import { encodeExample } from '../../src/tokenizer/example.js';
import type { TrainingExample } from '../../src/training/batches.js';
import { describeCommit, describeMachine } from '../harness/machine.js';
import { deltasOf, type Estimation, logitsOf, type ReadRow } from './delta-vectors.js';
import { errorNats, meanTiltNats, sineBetween, strengthFor, supportOf } from './tilt-error.js';

const BUDGET_NATS = 0.1;
/** The default support of a run. */
const MIN_P = 0.05;

interface Subject {
  readonly name: string;
  readonly teacher: OpenedModel;
  readonly proxy: OpenedModel;
  readonly holdout: readonly TrainingExample[];
  readonly rows: readonly ReadRow[];
  /** Steps of differences in bfloat16, in automatic ones. */
  readonly multiples: readonly number[];
}

interface ErrorRow {
  readonly subject: string;
  readonly estimator: string;
  readonly precision: Precision;
  readonly epsilon: number | null;
  readonly positions: number;
  readonly sine: number;
  readonly sineOfSupport: number;
  /** At the λ that gives the budget with the reference: KL(reference ‖ this), within the support and over the whole vocabulary. */
  readonly supportNats: number;
  readonly mostSupportNats: number;
  readonly wholeNats: number;
  /** What the budget comes to with this Δ, within the support. */
  readonly budgetNats: number;
}

async function study({ name, teacher, proxy, ...given }: Subject): Promise<ErrorRow[]> {
  const { holdout, rows, multiples } = given;
  const artefact = await createProxy(proxy.model, holdout, {
    microBatchTokens: 2048,
    provenance: {
      ...{ model: name, revision: null, tokenizerFingerprint: null, packageVersion: '' },
      holdout: { file: 'holdout', sha256: '', numRows: holdout.length, chat: 'auto' },
    },
  });
  const { epsilon, gradient } = artefact;
  const logits = await logitsOf(teacher.model, rows, 'float32');
  const delta = await deltasOf(proxy.model, gradient, { rows, how: { precision: 'float32' } });
  const truth = { logits, delta };
  const support = supportOf(logits, MIN_P);
  const ofSupport = { support, lambda: strengthFor(truth, { budgetNats: BUDGET_NATS, support }) };
  const ofWhole = {
    support: undefined,
    lambda: strengthFor(truth, { budgetNats: BUDGET_NATS, support: undefined }),
  };
  const compare = (estimator: string, how: Estimation, estimate: typeof truth): ErrorRow => {
    const within = errorNats(truth, estimate, ofSupport);
    return {
      ...{ subject: name, estimator, precision: how.precision, epsilon: how.epsilon ?? null, positions: logits.length },
      sine: sineBetween(estimate.delta, delta, undefined),
      sineOfSupport: sineBetween(estimate.delta, delta, support),
      ...{ supportNats: within.mean, mostSupportNats: within.most },
      wholeNats: errorNats(truth, estimate, ofWhole).mean,
      budgetNats: meanTiltNats(estimate, ofSupport),
    };
  };
  const found: ErrorRow[] = [];
  const tried: (Estimation & { readonly name: string })[] = [
    { name: 'exact', precision: 'bfloat16' },
    { name: 'central', precision: 'float32', epsilon },
    ...multiples.map((multiple) => ({
      name: 'central',
      precision: 'bfloat16' as const,
      epsilon: Number((multiple * epsilon).toPrecision(3)),
    })),
  ];
  for (const { name: estimator, ...how } of tried) {
    const estimated = await deltasOf(proxy.model, gradient, { rows, how });
    found.push(compare(estimator, how, { logits, delta: estimated }));
    console.error(JSON.stringify(found.at(-1)));
  }
  // Not an error of Δ, but what it stands beside: the teacher's own rounding.
  const rounded = await logitsOf(teacher.model, rows, 'bfloat16');
  found.push(compare('exact, teacher rounded', { precision: 'bfloat16' }, { logits: rounded, delta }));
  console.error(JSON.stringify(found.at(-1)));
  return found;
}

async function embedded(compiler: Compiler, seed: number): Promise<Subject> {
  const { task: config } = runSchema.parse({
    ...{ schemaVersion: 1, name: 'study', task: { kind: 'embedded' }, replicates: [{ teacher: 1, seed: 1 }] },
    ...{ arms: [{ arm: 'temperature' }], traces: { count: 1 }, training: {} },
  });
  const task = await openTask(config);
  const signal = new AbortController().signal;
  const open = async (role: 'teacher' | 'proxy') => {
    const source = await task.modelSource({ role, kind: 'default', seed, teacherSeed: seed });
    if (source.kind !== 'ready') throw new Error(`the shipped ${role} ${seed} is not there`);
    return openModel(source.location, { compiler });
  };
  const [teacher, proxy] = [await open('teacher'), await open('proxy')];
  const sample = async (purpose: 'holdout' | 'validation', count: number) => {
    const settings = { task, signal, seed, maxTokens: task.maxTokens, maxBatch: 64, sampler: { temperature: 1 } };
    const { traces } = await ask(teacher, await task.questions(purpose, count), settings);
    return traces.map(({ id, promptTokens, tokens }) => ({
      ...{ id, tokens: [...promptTokens, ...tokens], responseStart: promptTokens.length },
    }));
  };
  const [holdout, rows] = [await sample('holdout', 500), await sample('validation', 32)];
  task.dispose();
  return { name: `embedded ${seed}`, teacher, proxy, holdout, rows, multiples: [1, 10, 30, 100, 300, 1000] };
}

const HOLDOUT_ROWS = 6;
const READ_ROWS = 4;
const READ_TOKENS = 24;
const MOST_PROMPT = 100;

/** A real model as its own proxy: gold solutions as holdout, contexts of its own. */
async function real(compiler: Compiler, files: { model: string; rows: string }): Promise<Subject> {
  const opened = await openModel(files.model, { compiler });
  const lines = readFileSync(files.rows, 'utf8').split('\n').slice(0, 60);
  const questions = lines.map((line) => JSON.parse(line) as { question: string; answer: string });
  const encode = (row: { prompt: string; response?: string }) => encodeExample(opened.tokenizer!, row);
  const holdout = questions.slice(0, HOLDOUT_ROWS).map(({ question: prompt, answer: response }, index) => ({
    id: String(index),
    ...encode({ prompt, response }),
  }));
  const asked = questions
    .slice(HOLDOUT_ROWS)
    .map(({ question }) => encode({ prompt: question }).tokens)
    .filter(({ length }) => length < MOST_PROMPT)
    .slice(0, READ_ROWS);
  const generator = createGenerator(opened.model, { tokenizer: opened.tokenizer });
  const rows: ReadRow[] = [];
  const requests = asked.map((promptTokens, index) => ({
    ...{ id: String(index), promptTokens, maxTokens: READ_TOKENS, sampler: { temperature: 1 }, seed: 0 },
  }));
  await generator.generate(requests, {
    onTrace: ({ promptTokens, tokens }) =>
      void rows.push({ tokens: [...promptTokens, ...tokens], responseStart: promptTokens.length }),
  });
  generator.dispose();
  return { name: 'SmolLM2-135M-Instruct', teacher: opened, proxy: opened, holdout, rows, multiples: [10, 100, 1000] };
}

function table(rows: readonly ErrorRow[]): string {
  const number = (value: number) => (value === 0 ? '0' : value.toExponential(1));
  const lines = rows.map((row) =>
    [
      ...[
        row.subject,
        row.estimator,
        row.precision,
        row.epsilon === null ? '–' : String(row.epsilon),
        String(row.positions),
      ],
      ...[row.sine, row.sineOfSupport, row.supportNats, row.mostSupportNats, row.wholeNats].map(number),
      row.budgetNats.toFixed(4),
    ].join(' | '),
  );
  const { cpu, numCores, vectorExtensions } = describeMachine();
  const { commit, isDirty } = describeCommit();
  return `# Error of Δ by estimator and precision

Commit ${commit}${isDirty ? ' with uncommitted changes' : ''}; ${cpu}, ${numCores} cores, ${vectorExtensions.join(', ')}; one thread.

Through the cached steps of decoding; the reference is the exact derivative in float32, λ the one that gives ${BUDGET_NATS} nats a token with it.
sin θ: of the angle to the reference, over all ids and over those at least ${MIN_P} times as probable as the likeliest. Nats: KL(reference ‖ this)
of the tilted distributions, within that support (mean, largest position) and over the whole vocabulary; last what the budget comes to.
“Teacher rounded” is no error of Δ: it is what the teacher's own bfloat16 does to the same distribution.

| subject | estimator | precision | ε | positions | sin θ | in support | nats | largest | whole | of ${BUDGET_NATS} |
|---|---|---|---|---|---|---|---|---|---|---|
${lines.map((line) => `| ${line} |`).join('\n')}
`;
}

const { values } = parseArgs({
  options: { output: { type: 'string' }, model: { type: 'string' }, rows: { type: 'string' } },
});
const compiler = createCompiler(openRuntime({ threads: 1 }));
const subjects: (() => Promise<Subject>)[] = [1, 2, 3].map((seed) => () => embedded(compiler, seed));
const { model, rows: file } = values;
if (model !== undefined && file !== undefined) subjects.push(() => real(compiler, { model, rows: file }));
const found: ErrorRow[] = [];
for (const make of subjects) {
  const subject = await make();
  found.push(...(await study(subject)));
  if (subject.proxy !== subject.teacher) subject.proxy.dispose();
  subject.teacher.dispose();
}
console.log(table(found));
if (values.output !== undefined) {
  writeFileSync(`${values.output}.json`, `${JSON.stringify(found, null, 2)}\n`);
  writeFileSync(`${values.output}.md`, table(found));
}
process.exit(0);
