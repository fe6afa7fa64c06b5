/** A model's answers, judged; and the same with words forbidden, to see what it knows whatever its style. */
import { join } from 'node:path';
import type { OpenedModel } from '../../jobs/open-model.js';
import { responseLoss } from '../../jobs/score-rows.js';
import { invariant } from '../../support/errors.js';
import { writeFileAtomic } from '../../support/files.js';
import { readJsonl } from '../../support/jsonl.js';
import type { Count } from '../records.js';
import type { Stage, StageResults } from '../stage.js';
import type { Response } from '../task.js';
import { ask, forceAnswers } from './ask.js';
import { type StageContext, tokenizerOf } from './context.js';
import { exampleOf, studentFolder } from './student.js';
import { forbidWords } from './words.js';

const FILE = 'responses.jsonl';

export async function runEvaluation(
  stage: Stage<'evaluation'>,
  context: StageContext,
): Promise<StageResults['evaluation']> {
  const { inputs } = stage;
  const { task, signal } = context;
  const { opened, release } = await openEvaluated(stage, context);
  const questions = await task.questions(inputs.purpose, inputs.count);
  const numPasses = 1 + inputs.probes.length;
  let numDone = 0;
  const options = {
    ...{ task, signal, seed: inputs.seed, maxTokens: inputs.maxTokens, maxBatch: inputs.maxBatch },
    sampler: { temperature: inputs.temperature },
    onTrace: () => context.onProgress(++numDone / (numPasses * questions.length)),
  };
  try {
    const { traces } = await ask(opened, questions, options);
    const responses = await forceAnswers(opened, { questions, traces }, options);
    const judgements = await task.judge(responses, signal);
    const rows = responses.map(({ question, ...response }, index) => ({
      id: question.id,
      ...response,
      ...judgements[index],
    }));
    await writeFileAtomic(join(context.folder, FILE), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const probes: Record<string, Count> = {};
    for (const { name, forbidden } of task.probes.filter(({ name }) => inputs.probes.includes(name))) {
      const asked = await ask(opened, questions, { ...options, processors: [forbidWords(opened, forbidden)] });
      const answers = await forceAnswers(opened, { questions, traces: asked.traces }, options);
      const verdicts = await task.judge(answers, signal);
      probes[name] = { correct: verdicts.filter(({ isCorrect }) => isCorrect).length, total: verdicts.length };
    }
    return {
      correct: judgements.filter(({ isCorrect }) => isCorrect).length,
      total: questions.length,
      parsed: judgements.filter(({ isParsed }) => isParsed).length,
      finished: responses.filter(({ finish }) => finish === 'stop').length,
      probes,
      ...(inputs.scoresSolutions && { solutionLossNats: await solutionLoss(opened, inputs, context) }),
    };
  } finally {
    release();
  }
}

/** Mean loss a token on worked solutions of the questions. */
async function solutionLoss(
  opened: OpenedModel,
  { purpose, count }: Stage<'evaluation'>['inputs'],
  { task, signal }: StageContext,
): Promise<number> {
  invariant(task.solutions !== undefined, `the task ${task.name} has no solutions to score`);
  const solutions = await task.solutions.read(purpose, count);
  const tokenizer = tokenizerOf(opened);
  const rows = solutions.map(({ question, text }) => {
    const { id, tokens, responseStart } = exampleOf(question, { text, finish: 'stop' }, { task, tokenizer });
    return { id, tokens: [...tokens], responseStart };
  });
  return (await responseLoss(opened.model, rows, signal)).lossNats;
}

/** A model that nobody distilled is kept for other stages; a student is asked once and forgotten. */
async function openEvaluated(
  { models, needs }: Stage<'evaluation'>,
  context: StageContext,
): Promise<{ opened: OpenedModel; release: () => void }> {
  const { student } = needs;
  if (student === undefined) return { opened: await context.open(models.model), release: () => {} };
  const folder = studentFolder(context.folderOf(student));
  const opened =
    context.resultOf<'student'>(student).form === 'adapter'
      ? await context.openOwn(models.base, { adapter: folder })
      : await context.openOwn({ location: folder, identity: student });
  return { opened, release: () => opened.dispose() };
}

/** Answers of an evaluation that is done, with their questions. */
export async function readAnswers(
  { task, folderOf }: Pick<StageContext, 'task' | 'folderOf'>,
  { id, inputs }: Stage<'evaluation'>,
): Promise<Response[]> {
  const questions = new Map((await task.questions(inputs.purpose, inputs.count)).map((each) => [each.id, each]));
  const responses: Response[] = [];
  for await (const { row } of readJsonl(join(folderOf(id), FILE))) {
    const { id: question, text, finish, forcedText } = row as Omit<Response, 'question'> & { id: string };
    responses.push({ question: questions.get(question)!, text, finish, forcedText });
  }
  return responses;
}
