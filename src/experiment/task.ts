/**
 * What a trade-off run asks of a task. Stages are the same for every task; a task knows questions, answers, models and the ways in
 * which students adapt. It is opened anew in each process from the run's configuration, so opening must be cheap and must give the
 * same task each time.
 */
import type { Compiler } from '../engine/compiler.js';
import type { TransformerConfig } from '../model/config.js';
import type { LanguageModel } from '../model/language-model.js';
import type { ExampleOptions, TextRow } from '../tokenizer/example.js';
import type { TokenizerMatch } from '../tokenizer/fingerprint.js';
import type { Tokenizer } from '../tokenizer/types.js';
import type { TrainingExample } from '../training/batches.js';
import type { TrainingConfig } from '../training/config.js';
import type { Baseline, FactTable } from './records.js';

/** What questions are for. No question serves two purposes, but `calibration` and `validation` may share some. */
export type Purpose = 'holdout' | 'distil' | 'calibration' | 'validation' | 'test' | 'sealed';

export interface Question {
  /** Differs between all questions of a run; it takes part in the random numbers of its traces. */
  readonly id: string;
  /** What a model is asked: `{prompt}`, or `{messages}` for a chat template. */
  readonly row: TextRow;
  /** What the report shows. */
  readonly text: string;
  /** Whatever the task needs to judge a response. */
  readonly answer: unknown;
}

export interface Response {
  readonly question: Question;
  /** Without the token that ended it. */
  readonly text: string;
  /** `length`: cut off at the limit of tokens. */
  readonly finish: 'stop' | 'length';
  /** What the model wrote behind `forcing.suffix`, where an answer was forced. */
  readonly forcedText?: string | undefined;
}

export interface Judgement {
  readonly isCorrect: boolean;
  /** Whether an answer could be read at all. A run none of whose teacher's answers can be read stops with a message. */
  readonly isParsed: boolean;
}

export type Role = 'teacher' | 'proxy' | 'student';

export interface ModelRequest {
  readonly role: Role;
  readonly seed: number;
  /** `default`, or another kind that the task knows, such as a proxy's style. */
  readonly kind: string;
  /** Of the replicate that asks: decides only over models that are made from a teacher or from its holdout. */
  readonly teacherSeed: number;
}

export type ModelSource =
  | {
      readonly kind: 'ready';
      /** A folder, a `.gguf` file or a name on the hub, as `openModel` takes it. */
      readonly location: string;
      /** Tells weights apart wherever they lie: a hash of the files, or name and commit on the hub. */
      readonly identity: string;
      /** Where it is known without opening the model: for `--plan`. */
      readonly config?: TransformerConfig | undefined;
    }
  | {
      /** Made by a stage of the run (`buildModel`). */
      readonly kind: 'build';
      /** Everything that decides the weights, beside what it is made from: JSON. */
      readonly recipe: unknown;
      /** Models it is made from, which may be such as are built themselves. */
      readonly from: readonly ModelRequest[];
      /** Whether it is made with the holdout traces of `teacherSeed`. */
      readonly usesHoldout: boolean;
      readonly work: Work;
      /** Of the model that will be made: for `--plan`. */
      readonly config?: TransformerConfig | undefined;
    };

/** What a stage computes, for `--plan`: tokens of prompts and responses by the model that computes them. */
export interface Work {
  readonly sampled?: readonly ModelTokens[];
  /** Times of epochs included. */
  readonly trained?: readonly ModelTokens[];
}

export interface ModelTokens {
  readonly model: ModelRequest;
  readonly tokens: number;
}

export interface BuildContext {
  readonly compiler: Compiler;
  /** An empty folder for the model (`saveTrainedModel`). What is left in `scratch` survives a crash. */
  readonly folder: string;
  readonly scratch: string;
  /** Locations of the models of `from`, in that order. */
  readonly from: readonly string[];
  /** The holdout's traces where `usesHoldout`. */
  readonly holdout: readonly Response[];
  readonly signal?: AbortSignal | undefined;
  /** Share of the work that is done, 0–1. */
  readonly onProgress?: ((doneFraction: number) => void) | undefined;
  readonly log?: ((message: string) => void) | undefined;
}

/** A student that has seen the defence and adapts to it. */
export interface Attack {
  /** One sentence for the report. */
  readonly description: string;
  /** How many times the traces of an ordinary student it wants: a whole number. */
  readonly traceMultiple: number;
  /** How many undefended traces it has beside (the first distil questions, answered at temperature 1). */
  readonly numCleanTraces: number;
  /** What the student is trained on. `base` must be left as it is. */
  examples(context: AttackContext): Promise<readonly TrainingExample[]>;
}

export interface AttackContext {
  /** Under the arm. */
  readonly traces: readonly Response[];
  readonly cleanTraces: readonly Response[];
  /** The student before training. */
  readonly base: LanguageModel;
  readonly tokenizer: Tokenizer;
  /** How students of this run are trained. */
  readonly training: TrainingConfig;
  readonly seed: number;
  /** A row to learn from: a question and a response as the student's tokens. */
  exampleOf(question: Question, text: string): TrainingExample;
  readonly signal?: AbortSignal | undefined;
}

/** Texts whose style the report describes. */
export interface ResponseGroup {
  /** `bases`: models that nobody distilled, sampled at temperature 1; `arms`: the teacher's traces; `students`: greedy answers. */
  readonly group: 'bases' | 'arms' | 'students';
  /** `teacher 1`, `proxy 1`, `antidistillation 0.2 nats` … */
  readonly name: string;
  readonly responses: readonly Response[];
}

interface Solution {
  readonly question: Question;
  /** What a student would have to write. */
  readonly text: string;
}

/** A second way of asking students, to see what they know whatever their style. */
interface Probe {
  /** Of a column: `explicit`. */
  readonly name: string;
  readonly description: string;
  /** Words the student must not say. */
  readonly forbidden: readonly string[];
}

export interface Task {
  readonly name: string;
  /** A paragraph for the report: what is asked, who knows what. */
  readonly description: string;
  /** Accuracy of guessing, 0–1; null where there is none. */
  readonly chance: number | null;
  /** Everything that decides questions and judgements, as JSON: a stage's results are kept while it stays the same. */
  readonly identity: unknown;
  /** How rows become token ids. */
  readonly encoding: ExampleOptions;
  /** Most tokens of a response where the configuration names none. */
  readonly maxTokens: number;
  /** Of any models of this task, for `--plan`: rough lengths in tokens. */
  readonly expectedTokens: { readonly prompt: number; readonly response: number };
  /**
   * The first `count` questions of a purpose: more of them begin with the same ones. Errors: DataError where there are fewer.
   */
  questions(purpose: Purpose, count: number): Promise<readonly Question[]>;
  /** One judgement for each response. */
  judge(responses: readonly Response[], signal?: AbortSignal): Promise<readonly Judgement[]>;
  /** A second, greedy pass over responses without an answer in the expected form; absent where answers are not forced. */
  readonly forcing?:
    | { readonly suffix: string; readonly maxTokens: number; isNeeded(response: Response): boolean }
    | undefined;
  /** Worked solutions on which the loss of students is measured; absent where there are none. */
  readonly solutions?:
    | {
        readonly purposes: readonly Purpose[];
        /** Of the first `count` questions, as `questions` gives them. */
        read(purpose: Purpose, count: number): Promise<readonly Solution[]>;
      }
    | undefined;
  /** What rules without a model reach on the first `count` questions; absent where there are none. */
  baselines?(purpose: Purpose, count: number): Promise<readonly Baseline[]>;
  readonly probes: readonly Probe[];
  /** Kinds of proxy beside `default`, by name: a sentence each for the report. */
  readonly proxyKinds: Readonly<Record<string, string>>;
  /** How far the tokenizers of proxies must be the teacher's. */
  readonly proxyTokenizer: TokenizerMatch;
  /** By name. */
  readonly attacks: Readonly<Record<string, Attack>>;
  /** Errors: ConfigError for a seed or kind that the task does not have. */
  modelSource(request: ModelRequest): Promise<ModelSource>;
  /** Makes the model of a `build` source. */
  buildModel(request: ModelRequest, context: BuildContext): Promise<void>;
  /** Facts for the report. */
  describe(groups: readonly ResponseGroup[]): readonly FactTable[];
  dispose(): void;
}

export interface OpenTaskOptions {
  /** Only to tell the stages of a run and what they cost: data and models need not be there. */
  readonly isPlan?: boolean | undefined;
}
