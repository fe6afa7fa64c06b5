/**
 * What the commands do, as functions.
 *
 * ```ts
 * const opened = await openModel('HuggingFaceTB/SmolLM2-135M-Instruct');
 * await sampleRows(opened, { input: 'prompts.jsonl', output: 'traces.jsonl', sampler: { temperature: 0.7 } });
 * opened.dispose();
 * ```
 *
 * Parts to build other programs from: `azeotrope/engine`, `azeotrope/inference`, `azeotrope/training`.
 */
export {
  type JudgeOptions,
  type JudgeResult,
  judgeResponses,
  type ResponseToJudge,
} from './evaluation/judge/judge-responses.js';
export { type DistillConfig, distillSchema, type Method } from './experiment/distill/config.js';
export type { DistillRecords } from './experiment/distill/record-book.js';
export type { Distill, DistillDetails, DistillRow } from './experiment/distill/records.js';
export type { DistillOptions, DistillProgress } from './experiment/distill/run-context.js';
export { runDistill } from './experiment/distill/run-distill.js';
export type { ChatAnswer, ChatRequest, Responder } from './inference/endpoint/responder.js';
export { createEndpointResponder, createLocalResponder } from './inference/endpoint/responders.js';
export { type DemoOptions, type DemoResult, type Examination, runDemo } from './jobs/demo.js';
export { type EvaluateTaskOptions, evaluateTask, type TaskEvaluation } from './jobs/evaluate-task.js';
export { type GradeRowsOptions, type GradeSummary, gradeRows } from './jobs/grade-rows.js';
export { type Inspection, inspectModel } from './jobs/inspect.js';
export { type JudgeRowsOptions, judgeRows } from './jobs/judge-rows.js';
export { type MakeProxyOptions, type MakeProxyResult, makeProxy } from './jobs/make-proxy.js';
export { type OpenedModel, type OpenModelOptions, openModel } from './jobs/open-model.js';
export { type OpenedProxy, type OpenProxyOptions, openProxy } from './jobs/open-proxy.js';
export { type ReadRowsOptions, readRows } from './jobs/read-rows.js';
export { type SampleRowsOptions, type SampleSettings, samplePrompt, sampleRows } from './jobs/sample-rows.js';
export type { DeltaOptions, RowDeltas } from './jobs/score-deltas.js';
export { responseLoss, type ScoreRowsOptions, type ScoreSummary, scoreRows } from './jobs/score-rows.js';
export { type TrainRowsOptions, type TrainRowsResult, trainRows } from './jobs/train-rows.js';
export { type Alarm, findAlarms, type StepRow } from './methods/gad/alarms.js';
export { type GadConfig, gadSchema } from './methods/gad/config.js';
export { createConvolutionalDiscriminator } from './methods/gad/convolutional.js';
export { createTransformerDiscriminator, type Discriminator } from './methods/gad/discriminator.js';
export { type GadHooks, type GadResult, runGad } from './methods/gad/run-gad.js';
export { runToy, type ToyResult } from './methods/gad/toy/run-toy.js';
export { type CellCache, openCellCache, writeCellCache } from './methods/white-box-kd/cell-cache.js';
export { type WhiteBoxConfig, whiteBoxSchema } from './methods/white-box-kd/config.js';
export { type WhiteBoxParts, whiteBoxLoss } from './methods/white-box-kd/row-loss.js';
export { createTeacherPass, type TeacherPass } from './methods/white-box-kd/teacher-pass.js';
export type { ParameterSpec, RopeScaling, TransformerConfig } from './model/config.js';
export type { LanguageModel } from './model/language-model.js';
export {
  AzeotropeError,
  BackendError,
  CheckpointError,
  ConfigError,
  DataError,
  ModelLoadError,
  OverflowError,
  ShapeError,
} from './support/errors.js';
export { createRandom, type Random } from './support/random.js';
export { createGrader, type Grader, type GraderOptions, type Verdict } from './tasks/answers/grader.js';
export { type DatasetConfig, KNOWN_DATASETS } from './tasks/datasets/config.js';
export { loadDataset, type TaskItem } from './tasks/datasets/items.js';
export { buildPrompt, PROMPT_TEMPLATES, type PromptTemplate } from './tasks/datasets/prompts.js';
export { splitByHash } from './tasks/datasets/splits.js';
export { renderChat } from './tokenizer/chat.js';
export { openTokenizer } from './tokenizer/open.js';
export { type EncodedRow, encodeRow } from './tokenizer/rows.js';
export type { ChatMessage, Tokenizer, TokenizerSource } from './tokenizer/types.js';
