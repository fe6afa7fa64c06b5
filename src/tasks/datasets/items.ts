/** From records to questions with their answers. */
import { ConfigError, DataError, messageOf } from '../../support/errors.js';
import { didYouMean } from '../../support/suggest.js';
import { type DatasetConfig, datasetSchema } from './config.js';
import { type DataRecord, readRecords } from './records.js';

/** A question of a data set. */
export interface TaskItem {
  readonly id: string;
  readonly question: string;
  /** Texts of a multiple choice, in the order of their letters A, B, … */
  readonly choices?: readonly string[];
  /** What is right: text, number as it stands in the file, or the letter of the choice. */
  readonly answer: string;
  /** What it is about, where the data set says so. */
  readonly group?: string;
  /** How the answer is found, where the data set says so. */
  readonly solution?: string;
}

/**
 * Reads a data set. Errors: DataError naming file and line for a record without question or answer, choices that are no list of
 * texts, or an answer that is none of them; ConfigError for a pattern that is no regular expression.
 */
export async function loadDataset(config: Partial<DatasetConfig> & Pick<DatasetConfig, 'path'>): Promise<TaskItem[]> {
  const complete = datasetSchema.parse(config);
  const pattern = compilePattern(complete.answerPattern);
  const records = await readRecords(complete.path);
  return records.map((record, index) => toItem(record, { config: complete, pattern, index }));
}

/** The letter of the choice at an index: A, B, … */
export function letterOf(index: number): string {
  return String.fromCharCode(65 + index);
}

function compilePattern(source: string | undefined): RegExp | undefined {
  if (source === undefined) return undefined;
  try {
    return new RegExp(source, 'g');
  } catch (error) {
    throw new ConfigError(`answerPattern: ${messageOf(error)}.`);
  }
}

function toItem(
  record: DataRecord,
  { config, pattern, index }: { config: DatasetConfig; pattern: RegExp | undefined; index: number },
): TaskItem {
  const questionFields = [config.questionField].flat();
  const question = questionFields.map((name) => textOf(record, name)).join(' ');
  const id = config.idField === undefined ? String(record.fields.id ?? index) : textOf(record, config.idField);
  const written = textOf(record, config.answerField);
  const group = config.groupField === undefined ? undefined : fieldOf(record, config.groupField);
  const further = {
    ...(typeof group === 'string' && { group }),
    ...(config.solutionField !== undefined && { solution: textOf(record, config.solutionField) }),
  };
  if (config.choicesField !== undefined) {
    const choices = choicesOf(record, config.choicesField);
    const isIndex = typeof fieldOf(record, config.answerField) === 'number';
    return { id, question, choices, answer: letterOfAnswer(record, { choices, written, isIndex }), ...further };
  }
  const answer = pattern === undefined ? written : [...written.matchAll(pattern)].at(-1)?.[1]?.trim();
  if (answer === undefined || answer === '') {
    throw new DataError(
      `${record.where}: the answer ${JSON.stringify(written.slice(-60))} does not match /${config.answerPattern ?? '.+'}/. ` +
        'Change answerPattern, or remove the row.',
    );
  }
  return { id, question, answer, ...further };
}

function fieldOf({ fields }: DataRecord, name: string): unknown {
  if (Object.hasOwn(fields, name)) return fields[name];
  let value: unknown = fields;
  for (const part of name.split('.')) {
    value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[part] : undefined;
  }
  return value;
}

function textOf(record: DataRecord, name: string): string {
  const value = fieldOf(record, name);
  if (typeof value === 'string' && value.trim() !== '') return value.trim();
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const where = `${record.where}: the field "${name}" is`;
  if (value !== undefined) {
    throw new DataError(
      `${where} ${JSON.stringify(value)}, expected a text or a number. Fill it in, or remove the row.`,
    );
  }
  const fields = Object.keys(record.fields);
  throw new DataError(
    `${where} missing, expected a text or a number. The fields are ${fields.join(', ')}.${didYouMean(name, fields)}`,
  );
}

function choicesOf(record: DataRecord, name: string): string[] {
  const value = fieldOf(record, name);
  if (Array.isArray(value) && value.length >= 2 && value.length <= 10) return value.map(String);
  throw new DataError(`${record.where}: "${name}" must be a list of 2 to 10 choices, got ${JSON.stringify(value)}.`);
}

/** An answer to a multiple choice is a letter, the text of the choice, or as a number its index from 0. */
function letterOfAnswer(
  record: DataRecord,
  { choices, written, isIndex }: { choices: readonly string[]; written: string; isIndex: boolean },
): string {
  const letters = choices.map((_, index) => letterOf(index));
  const index = isIndex ? Number(written) : choices.indexOf(written);
  const letter = isIndex || !letters.includes(written.toUpperCase()) ? letters[index] : written.toUpperCase();
  if (letter !== undefined) return letter;
  throw new DataError(
    `${record.where}: the answer ${JSON.stringify(written)} is none of ${letters.join(', ')}, no index of a choice and no choice.`,
  );
}
