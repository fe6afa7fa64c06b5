/** The samplers that are compared, and the strength of those that have one. */
import type { GeneratorOptions } from '../../src/inference/generator.js';
import type { SamplerSettings } from '../../src/inference/samplers/settings.js';
import { createProxy } from '../../src/methods/antidistillation/create-proxy.js';
import type { Defence } from '../../src/methods/antidistillation/defence.js';
import type { ProxyArtefact } from '../../src/methods/antidistillation/proxy.js';
import { type Strength, solveStrength } from '../../src/methods/antidistillation/strength.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { generateProblems, type Problem } from '../../src/tasks/embedded/problems.js';
import { CONNECTIVES, DIRECTIONS } from '../../src/tasks/embedded/words.js';
import type { TrainingExample } from '../../src/training/batches.js';
import { type Answers, askProblems, preferWords } from './examine.js';
import { tokenizer } from './models.js';

/** Support of the masked arms: words at least this fraction as likely as the likeliest, by the teacher at temperature 1. */
const SUPPORT = 0.05;
const RULE_NATS = 6;
const NUM_HOLDOUT = 500;
const NUM_CALIBRATION = 200;

export interface Sampling extends Pick<GeneratorOptions, 'processors' | 'companions'> {
  readonly sampler: Partial<SamplerSettings>;
}

/** Temperature τ on the support of temperature 1: p^(1/τ) ≥ s^(1/τ)·max is p ≥ s·max. */
export const maskedTemperature = (temperature: number): Sampling => ({
  sampler: { temperature, minP: SUPPORT ** (1 / temperature) },
});

/** The trivial rule: words that are always preferred where they are possible. */
export const RULES = {
  /** One word, as anyone might name it. */
  and: ['and'],
  /** The three words of its kind. */
  connectives: CONNECTIVES,
  /** And the words that follow two people where no line does. */
  silence: [...CONNECTIVES, ...DIRECTIONS],
} as const;

export const rule = (name: keyof typeof RULES): Sampling => ({
  ...maskedTemperature(1),
  processors: [preferWords(RULES[name], RULE_NATS)],
});

/** Traces of the teacher, plainly sampled, as examples to learn from. */
export async function sampleHoldout(teacher: LanguageModel): Promise<TrainingExample[]> {
  const { traces } = await askProblems(teacher, generateProblems(NUM_HOLDOUT, 'holdout', 3), {
    sampler: { temperature: 1 },
    seed: 3,
  });
  return examplesOf(traces);
}

export const examplesOf = (traces: Answers['traces']): TrainingExample[] =>
  traces.map(({ id, promptTokens, tokens }) => ({
    id,
    tokens: [...promptTokens, ...tokens],
    responseStart: promptTokens.length,
  }));

export const gradientOf = (proxy: LanguageModel, holdout: readonly TrainingExample[]): Promise<ProxyArtefact> =>
  createProxy(proxy, holdout, {
    provenance: {
      model: 'proxy of the embedded task',
      revision: null,
      holdout: { file: 'holdout', sha256: '', numRows: holdout.length, chat: 'never' },
      tokenizerFingerprint: tokenizer.fingerprint,
      packageVersion: '',
    },
    microBatchTokens: 4096,
  });

export const tilted = (defence: Defence, lambda: number): Sampling => ({
  ...maskedTemperature(1),
  processors: [defence.tilt(lambda)],
  companions: defence.companions,
});

/** Mean over tokens of KL(tilted ‖ untilted). */
export function meanKlNats({ traces }: Answers): number {
  const values = traces.flatMap(({ statistics }) => statistics?.klNats ?? []);
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/** The λ whose tilt costs so many nats a token on validation prompts, or as many as the support allows. */
export async function strengthOf(
  teacher: LanguageModel,
  defence: Defence,
  { budgetNats, initial }: { budgetNats: number; initial: number },
): Promise<Pick<Strength, 'lambda' | 'value' | 'isReached'>> {
  const problems: Problem[] = generateProblems(NUM_CALIBRATION, 'validation', 4);
  const measure = async (lambda: number) =>
    meanKlNats(await askProblems(teacher, problems, { ...tilted(defence, lambda), seed: 4 }));
  return solveStrength(measure, { target: budgetNats, initial, tolerance: 0.05, outOfReach: 'bound' });
}
