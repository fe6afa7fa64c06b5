/** Real questions, real models: a task whose questions lie in files. */
import { gradeResponse, isBoxed, isRead, isRight } from '../../evaluation/grade-response.js';
import { chatTime } from '../../jobs/read-rows.js';
import { ConfigError, invariant } from '../../support/errors.js';
import { createGrader, type Grader } from '../../tasks/answers/grader.js';
import { letterOf, type TaskItem } from '../../tasks/datasets/items.js';
import { ANSWER_FORCING_SUFFIX, ANSWER_FORCING_TOKENS } from '../../tasks/datasets/prompts.js';
import { countRules } from '../../tasks/word-problems/rules.js';
import type { ExampleOptions, TextRow } from '../../tokenizer/example.js';
import type { FactTable } from '../records.js';
import type { Attack, Judgement, OpenTaskOptions, Purpose, Question, Response, ResponseGroup, Task } from '../task.js';
import { buildDerived, type SolvedRow } from './build-model.js';
import type { DatasetTaskConfig } from './config.js';
import { modelOf, parentOf, sourceOf } from './models.js';
import { createPrompter, fileIdentity, firstOf, loadSplits, type SplitName } from './questions.js';

/**
 * Opens the task. Data are read when questions are first asked for. Errors: DataError for files that cannot be read, unless `isPlan`;
 * ConfigError for models that do not fit together.
 */
export async function openDatasetTask(
  config: DatasetTaskConfig,
  { isPlan = false }: OpenTaskOptions = {},
): Promise<Task> {
  const encoding: ExampleOptions = { chat: config.chat, now: chatTime(config.chatDate) };
  const identity = await identityOf(config, isPlan);
  let loaded: Promise<Loaded> | undefined;
  const load = (): Promise<Loaded> => {
    loaded ??= loadAll(config);
    return loaded;
  };
  let grader: Grader | undefined;
  const judge = async (responses: readonly Response[], signal?: AbortSignal): Promise<Judgement[]> => {
    grader ??= createGrader({ timeLimitMs: config.timeLimitMs });
    const judgements: Judgement[] = [];
    for (const { question, ...response } of responses) {
      signal?.throwIfAborted();
      const graded = await gradeResponse(grader, question.answer as string, response);
      judgements.push({ isCorrect: isRight(graded), isParsed: isRead(graded) });
    }
    return judgements;
  };
  /** A question with a worked solution, as a row to learn from. */
  const solved = async (count: number): Promise<SolvedRow[]> => {
    const { splits, promptOf } = await load();
    return firstOf(splits, 'models', { count, sources: config.sources }).map((item) => {
      if (item.solution === undefined) {
        throw new ConfigError(`Question '${item.id}' has no solution: name its field (task.sources[].solution.field).`);
      }
      return { id: item.id, row: promptOf(item), response: item.solution };
    });
  };

  return {
    name: config.name,
    description: config.description ?? describeTask(config),
    chance: null,
    identity,
    encoding,
    maxTokens: config.maxTokens,
    expectedTokens: config.expectedTokens,
    async questions(purpose, count) {
      const { splits, promptOf } = await load();
      return firstOf(splits, purpose, { count, sources: config.sources }).map((item) =>
        toQuestion(item, promptOf(item)),
      );
    },
    judge,
    forcing: config.forceAnswers
      ? { suffix: ANSWER_FORCING_SUFFIX, maxTokens: ANSWER_FORCING_TOKENS, isNeeded: ({ text }) => !isBoxed(text) }
      : undefined,
    solutions: {
      purposes: solvedPurposes(config.sources),
      async read(purpose, count) {
        const { splits, promptOf } = await load();
        return firstOf(splits, purpose, { count, sources: config.sources }).map((item) => {
          invariant(item.solution !== undefined, `question '${item.id}' has no solution`);
          return { question: toQuestion(item, promptOf(item)), text: item.solution };
        });
      },
    },
    async baselines(purpose, count) {
      const { splits } = await load();
      return countRules(firstOf(splits, purpose, { count, sources: config.sources }));
    },
    probes: [],
    proxyKinds: Object.fromEntries(
      Object.entries(config.models.proxyKinds).map(([name, { description }]) => [name, description]),
    ),
    proxyTokenizer: config.models.proxyTokenizer,
    attacks: { verified: onlyRight(judge) },
    modelSource: (request) => sourceOf(config, request, { isPlan }),
    async buildModel(request, context) {
      const model = modelOf(config, request);
      invariant(typeof model !== 'string' && 'derive' in model, `${request.role} is not a model that is built`);
      const { derive } = model;
      const { on, rows = 0 } = derive.train ?? {};
      const taught =
        on === 'holdout'
          ? context.holdout
              .slice(0, rows)
              .map(({ question, text }) => ({ id: question.id, row: question.row, response: text }))
          : on === 'solutions'
            ? await solved(rows)
            : [];
      const location = parentOf(derive, request) === undefined ? derive.from : context.from[0];
      await buildDerived(derive, { location, rows: taught, seed: request.seed, encoding }, context);
    },
    describe: (groups) => (groups.length === 0 ? [] : [styleTable(groups)]),
    dispose: () => grader?.dispose(),
  };
}

const PURPOSES: readonly Purpose[] = ['test', 'sealed', 'validation', 'calibration'];

/** Purposes all of whose files have worked solutions. */
function solvedPurposes(sources: DatasetTaskConfig['sources']): Purpose[] {
  return PURPOSES.filter((name) => {
    const own = sources.filter(({ splits }) => splits[name] !== undefined);
    return own.length > 0 && own.every(({ solution }) => solution !== undefined);
  });
}

interface Loaded {
  readonly splits: Record<SplitName, TaskItem[]>;
  readonly promptOf: (item: TaskItem) => TextRow;
}

async function loadAll(config: DatasetTaskConfig): Promise<Loaded> {
  const splits = await loadSplits(config);
  return { splits, promptOf: await createPrompter(config) };
}

/** What decides questions and judgements: the files by their content, not by where they lie. */
async function identityOf(config: DatasetTaskConfig, isPlan: boolean): Promise<unknown> {
  const { sources, salt, splitBy, prompt, chat, chatDate, forceAnswers, timeLimitMs } = config;
  const contentOf = async <Source extends { path: string }>({ path, ...rest }: Source) => ({
    ...rest,
    sha256: await fileIdentity(path, isPlan),
  });
  return {
    sources: await Promise.all(sources.map(contentOf)),
    prompt: { ...prompt, ...(prompt.shots && { shots: await contentOf(prompt.shots) }) },
    ...{ salt, splitBy, chat, chatDate, forceAnswers, timeLimitMs },
  };
}

function toQuestion({ id, question, choices, answer }: TaskItem, row: TextRow): Question {
  const listed = (choices ?? []).map((choice, index) => `\n${letterOf(index)}. ${choice}`).join('');
  return { id, row, text: `${question}${listed}`, answer };
}

function describeTask({ name, sources, splitBy, forceAnswers }: DatasetTaskConfig): string {
  const files = sources.map(({ path }) => path.split(/[\\/]/).at(-1));
  return (
    `Questions of ${name} (${files.join(', ')}). A question serves one purpose alone, decided by the hash of its ${splitBy === 'template' ? 'text without names and numbers' : 'text'}. Answers are compared ` +
    `as formulas and numbers, not as text${forceAnswers ? '; a response without a boxed answer is made to end with one' : ''}.`
  );
}

/** A student whose owner checks answers: it learns only from traces that end right. */
function onlyRight(judge: Task['judge']): Attack {
  return {
    description: 'learns only from traces whose answer is right',
    traceMultiple: 1,
    numCleanTraces: 0,
    async examples({ traces, exampleOf, signal }) {
      const judgements = await judge(traces, signal);
      return traces
        .filter((_, index) => judgements[index].isCorrect)
        .map(({ question, text }) => exampleOf(question, text));
    },
  };
}

/** How responses are written: what makes a defence visible to the eye. */
function styleTable(groups: readonly ResponseGroup[]): FactTable {
  const meanOf = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const percent = (share: number) => Number((100 * share).toFixed(1));
  return {
    title: 'How responses are written',
    caption:
      'Words of a response, how many responses end by themselves and hold a boxed answer, and how many of the words of a response are different ones.',
    columns: ['responses', 'words', 'ended, %', 'boxed, %', 'different words, %'],
    rows: groups.map(({ name, responses }) => {
      const words = responses.map(({ text }) => text.split(/\s+/).filter((word) => word !== ''));
      return {
        name,
        values: [
          responses.length,
          Math.round(meanOf(words.map(({ length }) => length))),
          percent(meanOf(responses.map(({ finish }) => Number(finish === 'stop')))),
          percent(meanOf(responses.map(({ text }) => Number(isBoxed(text))))),
          percent(meanOf(words.map((each) => (each.length === 0 ? 0 : new Set(each).size / each.length)))),
        ],
      };
    }),
  };
}
