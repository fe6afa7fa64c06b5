/** What adversarial distillation may be told. */
import { z } from 'zod';

const optimizerShape = {
  weightDecay: z.number().min(0).default(0.01).describe('decoupled weight decay, on every trained tensor'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('decay of the first moment'),
  beta2: z.number().min(0).lt(1).default(0.95).describe('decay of the second moment'),
  epsilon: z.number().positive().default(1e-8).describe('added to the root of the second moment'),
};

const warmupSchema = z.strictObject({
  epochs: z.number().min(0).default(1).describe('passes over the prompts before the adversarial ones'),
  generator: z.boolean().default(true).describe("the student learns from the teacher's responses meanwhile"),
  discriminator: z.boolean().default(true).describe("the discriminator learns on the student's own samples meanwhile"),
  discriminatorOnlySteps: z.int().min(0).default(10).describe('first steps, in which the student stays as it is'),
  learningRate: z.number().positive().default(5e-6).describe("of the student; the paper's for 7B"),
  schedule: z.enum(['constant', 'linear', 'cosine']).default('constant').describe('of its learning rate'),
  discriminatorLearningRate: z
    .number()
    .positive()
    .optional()
    .describe('of the discriminator meanwhile; default: discriminator.learningRate'),
  finalFraction: z.number().min(0).max(1).default(0.1).describe('share of its learning rate left at the last step'),
  keepsBest: z
    .boolean()
    .default(false)
    .describe('adversarial steps begin with the student of the highest validation score so far, not with the last'),
  groupSize: z.int().min(1).default(8).describe('samples of each prompt for the discriminator'),
});

const discriminatorSchema = z.strictObject({
  kind: z
    .enum(['student', 'model', 'fresh', 'convolutional'])
    .default('student')
    .describe(
      'student: a copy of it; model: a copy of another (smaller, larger); fresh: random weights; convolutional: no attention',
    ),
  model: z.string().optional().describe('for kind model: folder, file or name of the model that is copied'),
  layersMultiple: z.number().positive().default(1).describe("for kind fresh: layers, the student's being 1"),
  widthMultiple: z.number().positive().default(1).describe("for kind fresh: width, the student's being 1"),
  convolutionWidth: z.int().min(1).default(64).describe('for kind convolutional: width of embeddings and filters'),
  readout: z
    .enum(['last', 'mean'])
    .default('last')
    .describe(
      'features that are scored: of the last token, or of all response tokens on average, which suits networks of few layers; not for convolutional',
    ),
  loss: z.enum(['bradleyTerry', 'crossEntropy']).default('bradleyTerry').describe('crossEntropy is an ablation'),
  isFrozen: z.boolean().default(false).describe('stays as the warm-up left it (off-policy, an ablation)'),
  learningRate: z.number().positive().default(1e-6).describe("of the discriminator; the paper's for 7B"),
  spectralNormalization: z.boolean().default(false).describe('matrices keep their largest singular value'),
  gradientPenalty: z.number().min(0).default(0).describe('weight of the mean of ‖∂score/∂embedded tokens‖²'),
  dropout: z.number().min(0).lt(1).default(0).describe('share of the features before the scalar head that is dropped'),
  gradientClip: z.number().positive().default(0.2).describe('largest global norm of the gradient'),
  ...optimizerShape,
});

/** Defaults are the paper's (arXiv 2511.10643, appendix) where it names them. */
export const gadSchema = z.strictObject({
  epochs: z.number().min(0).default(2).describe('adversarial passes over the prompts'),
  maxSteps: z.int().min(1).optional().describe('most steps in all, warm-up included'),
  batchPrompts: z.int().min(1).default(256).describe('prompts of a step'),
  groupSize: z.int().min(2).default(8).describe('responses to a prompt'),
  temperature: z.number().positive().default(0.8).describe('of the rollouts, and of the policy that is trained'),
  maxTokens: z.int().min(1).default(1536).describe('most tokens of a response'),
  learningRate: z.number().positive().default(1e-6).describe('of the student in adversarial steps'),
  updatesPerRollout: z.int().min(1).default(1).describe("parts a step's prompts are cut into, one update each"),
  clipFraction: z.number().positive().lt(1).default(0.2).describe('token ratios count within 1 ± this'),
  klWeight: z.number().min(0).default(0.001).describe('weight of the KL (k3) to the student as the warm-up left it'),
  gradientClip: z.number().positive().default(0.2).describe("largest global norm of the student's gradient"),
  ...optimizerShape,
  warmup: warmupSchema.prefault({}),
  discriminator: discriminatorSchema.prefault({}),
  microBatchTokens: z
    .int()
    .min(16)
    .default(4096)
    .describe('most tokens (padding included) computed at once; one row may exceed it'),
  maxBatch: z.int().min(1).default(256).describe('responses that are sampled at a time'),
  evaluateEverySteps: z.int().min(0).default(25).describe('steps between evaluations on the validation split; 0: none'),
  checkpointEverySteps: z.int().min(0).default(50).describe('steps between checkpoints; 0: only at the end'),
  keepCheckpoints: z.int().min(1).default(1).describe('checkpoints kept, the newest'),
  seed: z.int().min(0).default(0).describe('decides order, samples, dropout and fresh weights'),
});

export type GadConfig = z.output<typeof gadSchema>;
