/** Everything that a run trains, compares with and keeps: what its checkpoints hold. */
import type { Tensor } from '../../engine/runtime/types.js';
import { deriveModel, type LanguageModel, withLora } from '../../model/language-model.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { Optimizer } from '../../training/optimizer.js';
import { trainableSpecs } from '../../training/trainable.js';
import type { StepRow } from './alarms.js';
import type { GadConfig } from './config.js';
import type { Discriminator } from './discriminator.js';
import { createDiscriminatorTrainer, type DiscriminatorTrainer } from './discriminator-trainer.js';
import { createPolicyTrainer, type PolicyTrainer } from './policy-trainer.js';
import { createRolloutSampler, type RolloutSampler } from './rollouts.js';

type Tensors = Map<string, Tensor<'float32'>>;

export interface Participants {
  readonly critic: DiscriminatorTrainer;
  readonly policy: PolicyTrainer;
  readonly sampler: RolloutSampler;
  /** Tensors of a checkpoint, by role and name. */
  readonly state: { readonly trained: Tensors; readonly moments: Tensors };
  /** The reference of the KL becomes the student as it is; optimisers forget. */
  startAdversarial(): void;
  /** Updates since the optimisers began, from the rows of a run: the bias corrections of Adam depend on them. */
  restoreSteps(rows: readonly StepRow[]): void;
  /** Keeps the student's weights as the best so far. */
  keepBest(): void;
  /** Gives the student the weights that were kept. */
  takeBest(): void;
  dispose(): void;
}

/** Of a student with adapters these alone are trained and copied; reference and best share its base. */
export function createParticipants(
  student: LanguageModel,
  discriminator: Discriminator,
  { config, tokenizer }: { config: GadConfig; tokenizer: Tokenizer | undefined },
): Participants {
  const reference = copyOf(student);
  const best = copyOf(student);
  const critic = createDiscriminatorTrainer(discriminator, config, createRandom(deriveSeed(config.seed, 'spectral')));
  const policy = createPolicyTrainer(student, reference, config);
  const sampler = createRolloutSampler(student, { ...config, tokenizer });
  const optimizers = [policy.optimizer, critic.optimizer];
  return {
    ...{ critic, policy, sampler },
    state: {
      trained: new Map([
        ...named('student', trainedOf(student)),
        ...named('reference', trainedOf(reference)),
        ...named('best', trainedOf(best)),
        ...named('discriminator', discriminator.parameters),
        ...named('discriminator', critic.spectral?.tensors ?? new Map()),
      ]),
      moments: new Map([
        ...named('student', policy.optimizer.moments),
        ...named('discriminator', critic.optimizer.moments),
      ]),
    },
    startAdversarial() {
      copyTrained(student, reference);
      for (const optimizer of optimizers) forget(optimizer);
    },
    restoreSteps(rows) {
      const phase = rows.at(-1)?.phase;
      const present = rows.filter((row) => row.phase === phase);
      policy.optimizer.step = present.reduce((sum, { studentUpdates }) => sum + studentUpdates, 0);
      critic.optimizer.step = present.filter((row) => row.discriminatorGradientNorm !== null).length;
    },
    keepBest: () => copyTrained(student, best),
    takeBest: () => copyTrained(best, student),
    dispose() {
      for (const part of [critic, policy, sampler, reference, best]) part.dispose();
    },
  };
}

function trainedOf({ config, lora, parameters }: LanguageModel): Tensors {
  return new Map(trainableSpecs(config, lora).map(({ name }) => [name, parameters.get(name)!]));
}

function copyOf(model: LanguageModel): LanguageModel {
  if (model.lora === undefined) return deriveModel(model, (_, source, into) => into.set(source));
  const values = new Map([...trainedOf(model)].map(([name, { data }]) => [name, data]));
  const copy = withLora(model, model.lora, { adapter: values });
  // The base and its tables stay the student's.
  const dispose = () => {
    for (const tensor of trainedOf(copy).values()) tensor.dispose();
  };
  return { ...copy, rotary: model.rotary, dispose };
}

function copyTrained(from: LanguageModel, to: LanguageModel): void {
  for (const [name, { data }] of trainedOf(from)) to.parameters.get(name)!.data.set(data);
}

function forget(optimizer: Optimizer): void {
  optimizer.step = 0;
  for (const { data } of optimizer.moments.values()) data.fill(0);
}

const named = <T>(role: string, tensors: ReadonlyMap<string, T>): [string, T][] =>
  [...tensors].map(([name, tensor]) => [`${role}/${name}`, tensor]);
