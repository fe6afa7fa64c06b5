import type { CommandRow } from './command.js';

/** The commands, in the order of the help. Each loads its own module only when it is asked for. */
export const commands: readonly CommandRow[] = [
  {
    name: 'tradeoff',
    summary: 'What antidistillation sampling takes from students, and costs the teacher',
    load: () => import('./tradeoff.js').then(({ tradeoff }) => tradeoff),
  },
  {
    name: 'demo',
    summary: 'See a small transformer trained from nothing, then asked',
    load: () => import('./demo.js').then(({ demo }) => demo),
  },
  {
    name: 'toy',
    summary: 'See what on-policy distillation does on ten classes',
    load: () => import('./toy.js').then(({ toy }) => toy),
  },
  {
    name: 'sample',
    summary: 'Sample responses to prompts from a model',
    load: () => import('./sample.js').then(({ sample }) => sample),
  },
  {
    name: 'score',
    summary: 'Log-probabilities of given tokens',
    load: () => import('./score.js').then(({ score }) => score),
  },
  {
    name: 'proxy',
    summary: 'The gradient that antidistillation sampling needs, from holdout traces',
    load: () => import('./proxy.js').then(({ proxy }) => proxy),
  },
  {
    name: 'calibrate',
    summary: 'The strength of antidistillation sampling that a budget of nats or accuracy allows',
    load: () => import('./calibrate.js').then(({ calibrate }) => calibrate),
  },
  {
    name: 'train',
    summary: 'Train a model, or LoRA adapters, on rows or traces',
    load: () => import('./train.js').then(({ train }) => train),
  },
  {
    name: 'evaluate',
    summary: 'Accuracy of a model, or of stored traces, on a task',
    load: () => import('./evaluate.js').then(({ evaluate }) => evaluate),
  },
  {
    name: 'grade',
    summary: 'Whether pairs of answers mean the same',
    load: () => import('./grade.js').then(({ grade }) => grade),
  },
  {
    name: 'report',
    summary: 'The page and figures of a trade-off run, made again from its records',
    load: () => import('./report.js').then(({ report }) => report),
  },
  {
    name: 'embedded-models',
    summary: 'Make the checkpoints of the embedded task from their seeds',
    load: () => import('./embedded-models.js').then(({ embeddedModels }) => embeddedModels),
  },
  {
    name: 'distill',
    summary: 'Distil students: by text, by probabilities, or adversarially',
    load: () => import('./distill.js').then(({ distill }) => distill),
  },
  {
    name: 'judge',
    summary: 'Score responses with a judge, in both orders',
    load: () => import('./judge.js').then(({ judge }) => judge),
  },
  {
    name: 'inspect',
    summary: 'What a checkpoint is, and the memory it needs',
    load: () => import('./inspect.js').then(({ inspect }) => inspect),
  },
  {
    name: 'doctor',
    summary: 'What this installation computes with, why, and how fast',
    load: () => import('./doctor.js').then(({ doctor }) => doctor),
  },
];
