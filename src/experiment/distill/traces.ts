/** What the teacher says, wherever it comes from. */
import { type ExampleOptions, encodeExample } from '../../tokenizer/example.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { TrainingExample } from '../../training/batches.js';
import type { Question, Task } from '../task.js';
import type { DistillConfig } from './config.js';
import type { Spend } from './records.js';

/** A response of the teacher. */
export interface TeacherTrace {
  readonly id: string;
  readonly text: string;
  readonly finish: 'stop' | 'length';
  /** Ids of the teacher's tokenizer, where it is known. */
  readonly promptTokens?: readonly number[];
  readonly tokens?: readonly number[];
}

export interface TraceSource {
  /** Changes with anything that changes a response. */
  readonly identity: string;
  /** Responses to the questions, in their order; one that got none and may be skipped has none. Those asked for before are not made again. */
  responses(questions: readonly Question[]): Promise<readonly TeacherTrace[]>;
  /** Texts, by question, that are known without asking anybody. */
  known(questions: readonly Question[]): Promise<ReadonlyMap<string, string>>;
  /** What the responses cost so far; null where nobody is paid. */
  spend(): Spend | null;
}

export interface TraceContext {
  readonly task: Task;
  readonly config: DistillConfig;
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly log: (message: string) => void;
  readonly onProgress: (numDone: number, total: number, note: string) => void;
}

/** Rows for a student, of the questions that have a response: the teacher's own tokens where both have the same, else its text in the student's. */
export function examplesOf(
  questions: readonly Question[],
  traces: readonly TeacherTrace[],
  { tokenizer, encoding, sharesTokens }: { tokenizer: Tokenizer; encoding: ExampleOptions; sharesTokens: boolean },
): TrainingExample[] {
  const byId = new Map(traces.map((trace) => [trace.id, trace]));
  return questions.flatMap(({ id, row }) => {
    const trace = byId.get(id);
    if (trace === undefined) return [];
    const { text, finish, promptTokens, tokens } = trace;
    if (sharesTokens && promptTokens !== undefined && tokens !== undefined)
      return { id, tokens: [...promptTokens, ...tokens], responseStart: promptTokens.length };
    const whole =
      row.messages === undefined
        ? { ...row, response: text }
        : { messages: [...row.messages, { role: 'assistant', content: text }] };
    const encoded = encodeExample(tokenizer, whole, encoding);
    const isCut = finish === 'length' && tokenizer.eosTokenIds.includes(encoded.tokens.at(-1) ?? -1);
    return { id, tokens: isCut ? encoded.tokens.slice(0, -1) : encoded.tokens, responseStart: encoded.responseStart };
  });
}
