/** Which fields of a file are the question and the answer. */
import { z } from 'zod';

const field = z.string().min(1);

/** A data set of questions and answers. Fields of fields are written with points: `answer.value`. */
export const datasetSchema = z.strictObject({
  path: z.string().min(1).meta({ description: 'Questions and answers (.jsonl, .parquet)' }),
  questionField: z
    .union([field, z.array(field).min(1)])
    .default('question')
    .meta({ description: 'Field of the question; several are joined by spaces' }),
  answerField: field.default('answer').meta({ description: 'Field of the answer' }),
  choicesField: field.optional().meta({ description: 'Field of the choices: a list of texts' }),
  idField: field.optional().meta({ description: 'Field of the id; without it the number of the row' }),
  groupField: field.optional().meta({ description: 'Field of what the question is about, such as its subject' }),
  solutionField: field.optional().meta({ description: 'Field of the worked solution' }),
  answerPattern: z
    .string()
    .optional()
    .meta({ description: 'Regular expression whose first group, where it matches last, is the answer' }),
});

export type DatasetConfig = Readonly<z.output<typeof datasetSchema>>;

/** Fields of the public data sets; each still needs a path. */
export const KNOWN_DATASETS = {
  gsm8k: { questionField: 'question', answerField: 'answer', answerPattern: '####\\s*(.+)' },
  math: { questionField: 'problem', answerField: 'answer' },
  mmlu: { questionField: 'question', answerField: 'answer', choicesField: 'choices', groupField: 'subject' },
  svamp: { questionField: ['Body', 'Question'], answerField: 'Answer', idField: 'ID' },
  mawps: { questionField: 'question', answerField: 'answer' },
  mawpsSubsets: { questionField: 'input', answerField: 'target' },
} as const satisfies Record<string, Partial<DatasetConfig>>;
