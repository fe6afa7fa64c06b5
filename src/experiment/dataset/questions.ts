/** From files to the questions of each purpose: no question in two of them, whatever the files repeat. */
import { readFile } from 'node:fs/promises';
import { ConfigError, DataError, messageOf } from '../../support/errors.js';
import { fileError } from '../../support/files.js';
import { sha256 } from '../../support/hash.js';
import { KNOWN_DATASETS } from '../../tasks/datasets/config.js';
import { loadDataset, type TaskItem } from '../../tasks/datasets/items.js';
import { buildPrompt, PROMPT_TEMPLATES, type PromptTemplate } from '../../tasks/datasets/prompts.js';
import { hashPosition, plainText, splitByHash } from '../../tasks/datasets/splits.js';
import { templatesOf } from '../../tasks/datasets/templates.js';
import { isAnswer, parseEquation, solve } from '../../tasks/word-problems/equation.js';
import { equationTrace } from '../../tasks/word-problems/equation-trace.js';
import type { TextRow } from '../../tokenizer/example.js';
import type { Purpose } from '../task.js';
import type { DatasetTaskConfig, SourceConfig } from './config.js';

/** A purpose of questions, or `models`: what derived models are trained on. */
export type SplitName = Purpose | 'models';

/** Where a question stands that several files or splits claim: what is measured comes first. */
const PRECEDENCE: readonly SplitName[] = ['sealed', 'test', 'validation', 'calibration', 'holdout', 'distil', 'models'];

type Fields = Omit<SourceConfig, 'splits' | 'solution'>;

function readItems({ known, ...named }: Fields, solutionField?: string): Promise<TaskItem[]> {
  const given = Object.entries({ ...named, solutionField }).filter(([, value]) => value !== undefined);
  return loadDataset({ ...(known && KNOWN_DATASETS[known]), ...(Object.fromEntries(given) as { path: string }) });
}

/**
 * The questions of every split, in an order that the hash of their texts decides, ids with the number of their file before them.
 * Questions of one template, where `splitBy` says so, are in one split. Errors: those of `loadDataset`; ConfigError for fractions
 * that sum to more than 1; DataError for ids that stand twice, and for equations that are none.
 */
export async function loadSplits({
  sources,
  salt,
  splitBy,
}: DatasetTaskConfig): Promise<Record<SplitName, TaskItem[]>> {
  const splits: Record<string, TaskItem[]> = Object.fromEntries(PRECEDENCE.map((name) => [name, []]));
  const files = await Promise.all(sources.map((source, index) => readSource(source, index)));
  const keyOf = splitBy === 'template' ? templateKeys(files.flat()) : plainText;
  for (const [index, { splits: shares }] of sources.entries()) {
    // In one order whatever the configuration's, so that shares mean the same questions.
    const fractions = Object.fromEntries(PRECEDENCE.map((name) => [name, shares[name] ?? 0]));
    const parts = splitByHash(files[index], fractions, { salt, keyOf: ({ question }) => keyOf(question) });
    for (const [name, part] of Object.entries(parts)) splits[name].push(...part);
  }
  const texts = new Set<string>();
  const ownerOf = new Map<string, SplitName>();
  for (const name of PRECEDENCE) {
    splits[name] = splits[name].filter(({ question }) => {
      const text = plainText(question);
      const key = keyOf(question);
      if (texts.has(text) || (ownerOf.get(key) ?? name) !== name) return false;
      ownerOf.set(key, name);
      return texts.add(text);
    });
    const placed = splits[name].map((item) => ({ item, place: hashPosition(item.question, `${salt} order`) }));
    splits[name] = placed.sort((a, b) => a.place - b.place).map(({ item }) => item);
  }
  const { calibration, validation } = splits;
  if (calibration.length === 0) splits.calibration = validation;
  if (validation.length === 0) splits.validation = calibration;
  return splits as Record<SplitName, TaskItem[]>;
}

async function readSource({ splits: _splits, solution, ...fields }: SourceConfig, index: number): Promise<TaskItem[]> {
  const items = await readItems(fields, solution?.field);
  checkIds(items, fields.path);
  return items.flatMap((item) => {
    const id = `${index}/${item.id}`;
    if (solution === undefined) return [{ ...item, id }];
    const text = solutionOf(item, { solution, path: fields.path });
    return text === undefined ? [] : [{ ...item, id, solution: text }];
  });
}

/** Templates by question. */
function templateKeys(items: readonly TaskItem[]): (question: string) => string {
  const questions = items.map(({ question }) => question);
  const templates = templatesOf(questions);
  const keys = new Map(questions.map((question, index) => [question, templates[index]]));
  return (question) => keys.get(question)!;
}

function checkIds(items: readonly TaskItem[], path: string): void {
  const ids = new Set<string>();
  const twice = items.find(({ id }) => ids.has(id) || !ids.add(id));
  if (twice === undefined) return;
  throw new DataError(`${path}: two questions have the id '${twice.id}'. Name another idField, or none.`);
}

/** The solution to learn; undefined where an equation does not give the answer. */
function solutionOf(
  item: TaskItem,
  {
    solution: { kind, replace },
    path,
  }: { solution: Pick<NonNullable<SourceConfig['solution']>, 'kind' | 'replace'>; path: string },
): string | undefined {
  const text = replace.reduce(
    (replaced, { pattern, with: by }) => replaced.replace(new RegExp(pattern, 'g'), by),
    item.solution!,
  );
  if (kind === 'text') return text;
  try {
    const equation = parseEquation(text);
    return isAnswer(solve(equation), item.answer) ? equationTrace(equation, item.question) : undefined;
  } catch (error) {
    throw new DataError(`${path}, question '${item.id}': ${messageOf(error)}`);
  }
}

/** The first `count` questions of a split. Errors: DataError where there are fewer, saying which files and shares give them. */
export function firstOf(
  splits: Record<SplitName, TaskItem[]>,
  name: SplitName,
  { count, sources }: { count: number; sources: DatasetTaskConfig['sources'] },
): TaskItem[] {
  const items = splits[name];
  if (items.length >= count) return items.slice(0, count);
  const shares = sources.flatMap(({ path, splits: each }) =>
    each[name] === undefined ? [] : [`${each[name]} of ${path}`],
  );
  throw new DataError(
    `${count} questions are wanted for '${name}', but there are ${items.length} (${shares.length === 0 ? 'no source has a share for it' : shares.join(', ')}). ` +
      'Ask for fewer, or give it a larger share in task.sources.',
  );
}

/** How questions become rows. Errors: those of `loadDataset`; ConfigError for examples that the files have not. */
export async function createPrompter({ prompt }: DatasetTaskConfig): Promise<(item: TaskItem) => TextRow> {
  const { system, shots } = prompt;
  const template: PromptTemplate =
    typeof prompt.template === 'string' ? PROMPT_TEMPLATES[prompt.template] : definedOf(prompt.template);
  const { count = 0, isOfGroup = false, ...fields } = shots ?? {};
  const examples = shots === undefined ? [] : await readItems(fields as Fields);
  const examplesFor = (item: TaskItem): TaskItem[] => {
    const fitting = isOfGroup ? examples.filter(({ group }) => group === item.group) : examples;
    if (fitting.length >= count) return fitting.slice(0, count);
    const ofGroup = isOfGroup ? ` of the group ${JSON.stringify(item.group ?? null)}` : '';
    throw new ConfigError(
      `task.prompt.shots: ${count} examples are wanted, ${shots?.path} has ${fitting.length}${ofGroup}. Ask for fewer.`,
    );
  };
  return (item) => {
    const text = buildPrompt(item, template, examplesFor(item));
    if (system === undefined) return { prompt: text };
    return {
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: text },
      ],
    };
  };
}

function definedOf({
  instruction,
  question,
  shot,
}: {
  instruction?: string | undefined;
  question: string;
  shot?: string | undefined;
}) {
  return { question, ...(instruction !== undefined && { instruction }), ...(shot !== undefined && { shot }) };
}

/** Hash of a file's content, or of its name alone where it need not be there. */
export async function fileIdentity(path: string, isPlan: boolean): Promise<string> {
  try {
    return sha256(await readFile(path));
  } catch (error) {
    if (isPlan) return `not read: ${path}`;
    throw fileError(error, 'read', path);
  }
}
