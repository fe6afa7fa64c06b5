/** Prompts: templates as data, filled with questions. */
import { ConfigError } from '../../support/errors.js';
import { letterOf, type TaskItem } from './items.js';

/** How a question becomes a prompt. `{question}`, `{choices}` and, in `shot`, `{answer}` are filled in. */
export interface PromptTemplate {
  /** Before everything else, once. */
  readonly instruction?: string;
  readonly question: string;
  /** A solved example; needed for few-shot prompts. */
  readonly shot?: string;
}

const CHOICES = '{question}\n{choices}\n';

/** Templates by name. `boxed` and `mmlu` are those of the antidistillation experiments: zero shots on GSM8K and MATH, five on MMLU. */
export const PROMPT_TEMPLATES = {
  boxed: {
    question: "{question}\n\nLet's think step by step, and put the final answer within \\boxed{}.",
    shot: '{question}\n\n\\boxed{{answer}}',
  },
  boxedChoice: {
    question: `${CHOICES}\nLet's think step by step, and put the letter of the right choice within \\boxed{}.`,
    shot: `${CHOICES}\n\\boxed{{answer}}`,
  },
  mmlu: {
    instruction: 'The following are multiple choice questions (with answers).',
    question: `${CHOICES}Answer:`,
    shot: `${CHOICES}Answer: {answer}`,
  },
  plain: { question: 'Question: {question}\nAnswer:', shot: 'Question: {question}\nAnswer: {answer}' },
} as const satisfies Record<string, PromptTemplate>;

/** Appended to a response that ended without a box, before `ANSWER_FORCING_TOKENS` greedy tokens. */
export const ANSWER_FORCING_SUFFIX = '\n\n**Final Answer**\n\\[\\boxed{';
export const ANSWER_FORCING_TOKENS = 32;

/**
 * The prompt of a question, after solved examples; parts stand a blank line apart. Errors: ConfigError for examples without a
 * template of theirs, and for choices where the template or the question has none.
 */
export function buildPrompt(item: TaskItem, template: PromptTemplate, shots: readonly TaskItem[] = []): string {
  const { instruction, question, shot } = template;
  if (shots.length > 0 && shot === undefined) {
    throw new ConfigError(
      'The template has no "shot": it cannot show solved examples. Add one, or ask for zero shots.',
    );
  }
  const parts = [...shots.map((example) => fill(shot!, example)), fill(question, item)];
  return [...(instruction === undefined ? [] : [instruction]), ...parts].join('\n\n');
}

function fill(template: string, item: TaskItem): string {
  const { id, question, choices, answer } = item;
  if (choices === undefined && template.includes('{choices}')) {
    throw new ConfigError(`Question '${id}' has no choices, but the template shows {choices}. Set choicesField.`);
  }
  const values: Record<string, string> = {
    question,
    answer,
    choices: (choices ?? []).map((choice, index) => `${letterOf(index)}. ${choice}`).join('\n'),
  };
  // One pass: braces in a question stay as they are.
  return template.replace(/\{(question|choices|answer)\}/g, (_, name: string) => values[name]);
}
