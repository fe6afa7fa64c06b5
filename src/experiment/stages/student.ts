/** Traces to a trained student: the plain one, or one that has seen the defence and adapts to it. */
import { join } from 'node:path';
import type { OpenedModel } from '../../jobs/open-model.js';
import { tokenizerFilesOf } from '../../jobs/train-rows.js';
import { invariant } from '../../support/errors.js';
import { encodeExample } from '../../tokenizer/example.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { TrainingExample } from '../../training/batches.js';
import { saveTrainedModel } from '../../training/save.js';
import { trainModel } from '../../training/train.js';
import type { Stage, StageResults } from '../stage.js';
import type { Question, Task } from '../task.js';
import { type StageContext, tokenizerOf } from './context.js';
import { readResponses, readTraces } from './traces.js';

const MODEL = 'model';

/** Folder of the trained model, or of its adapter, in the stage's folder. */
export const studentFolder = (stageFolder: string): string => join(stageFolder, MODEL);

export async function runStudent(stage: Stage<'student'>, context: StageContext): Promise<StageResults['student']> {
  const { inputs, models } = stage;
  const base = await context.openOwn(models.base);
  let trained = base.model;
  try {
    const examples = await examplesFor(stage, context, base);
    const result = await trainModel(base.model, examples, inputs.training, {
      folder: context.scratch,
      signal: context.signal,
      onStep: ({ step, totalSteps }) => context.onProgress(step / totalSteps),
      log: context.log,
    });
    trained = result.model;
    context.signal.throwIfAborted();
    invariant(result.isComplete, 'training ended early without a signal');
    const folder = studentFolder(context.folder);
    await saveTrainedModel(folder, trained, {
      baseModel: base.checkpoint.location,
      files: await tokenizerFilesOf(base.checkpoint),
      overwrite: true,
    });
    return {
      form: trained.lora === undefined ? 'model' : 'adapter',
      numRows: examples.length,
      numSteps: result.numSteps,
      lossNats: result.lossNats ?? null,
    };
  } finally {
    // With adapters the trained model takes the place of its base and holds all of its tensors.
    trained.dispose();
    if (trained === base.model) base.dispose();
  }
}

async function examplesFor(
  { inputs, models, needs }: Stage<'student'>,
  context: StageContext,
  base: OpenedModel,
): Promise<readonly TrainingExample[]> {
  const { task } = context;
  const ids = Object.keys(needs)
    .filter((name) => name.startsWith('traces'))
    .sort((a, b) => Number(a.slice('traces'.length)) - Number(b.slice('traces'.length)))
    .map((name) => needs[name]);
  const { attack } = inputs;
  if (attack === null) return (await Promise.all(ids.map((id) => ownExamples(id, context, base)))).flat();
  const all = ids.reduce((sum, id) => sum + context.resultOf<'traces'>(id).total, 0);
  const responses = await Promise.all(ids.map((id) => readResponses(context, { id, purpose: 'distil', to: all })));
  const numClean = task.attacks[attack].numCleanTraces;
  const clean =
    needs.clean === undefined ? [] : await readResponses(context, { id: needs.clean, purpose: 'distil', to: numClean });
  const tokenizer = tokenizerOf(base);
  // Kept in memory beside the one that is trained: an attack may ask it, and must not change it.
  const untouched = await context.open(models.base);
  return task.attacks[attack].examples({
    traces: responses.flat(),
    cleanTraces: clean,
    base: untouched.model,
    tokenizer,
    training: inputs.training,
    seed: inputs.training.seed,
    exampleOf: (question, text) => exampleOf(question, { text, finish: 'stop' }, { task, tokenizer }),
    signal: context.signal,
  });
}

/** The teacher's own tokens, where the student has the same; else its text in the student's. */
async function ownExamples(id: string, context: StageContext, base: OpenedModel): Promise<TrainingExample[]> {
  const { task } = context;
  const { total, tokenizerFingerprint } = context.resultOf<'traces'>(id);
  if (tokenizerFingerprint === tokenizerOf(base).fingerprint) {
    const traces = await readTraces(context.folderOf(id));
    return traces.map((trace) => ({
      id: trace.id,
      tokens: [...trace.promptTokens, ...trace.tokens],
      responseStart: trace.promptTokens.length,
    }));
  }
  const responses = await readResponses(context, { id, purpose: 'distil', to: total });
  return responses.map((response) => exampleOf(response.question, response, { task, tokenizer: tokenizerOf(base) }));
}

/** A row to learn from. What was cut off ends without the token that ends a turn. */
export function exampleOf(
  { id, row }: Question,
  { text, finish }: { text: string; finish: 'stop' | 'length' },
  { task, tokenizer }: { task: Task; tokenizer: Tokenizer },
): TrainingExample {
  const whole =
    row.messages === undefined
      ? { ...row, response: text }
      : { messages: [...row.messages, { role: 'assistant', content: text }] };
  const { tokens, responseStart } = encodeExample(tokenizer, whole, task.encoding);
  const isCut = finish === 'length' && tokenizer.eosTokenIds.includes(tokens.at(-1) ?? -1);
  return { id, tokens: isCut ? tokens.slice(0, -1) : tokens, responseStart };
}
