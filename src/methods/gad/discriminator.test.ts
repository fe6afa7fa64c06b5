import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { SCALAR_HEAD } from '../../model/decoder.js';
import { createModel } from '../../model/language-model.js';
import { createRandom } from '../../support/random.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import { createObjectiveAccumulator } from '../../training/gradient-accumulator.js';
import { gadSchema } from './config.js';
import { createConvolutionalDiscriminator } from './convolutional.js';
import { createTransformerDiscriminator, type Discriminator } from './discriminator.js';
import { discriminatorObjective } from './discriminator-objective.js';
import { createDiscriminatorTrainer, type ResponseGroup } from './discriminator-trainer.js';
import { objective64, slope, smallConfig } from './gad.fixture.js';
import { discriminatorLoss, mean } from './losses.js';
import { createSpectralState } from './spectral.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const makers: Record<string, () => Discriminator> = {
  transformer: () =>
    createTransformerDiscriminator(compiler, {
      config: smallConfig,
      readout: 'last',
      random: createRandom('critic'),
    }),
  'transformer, mean of the response': () =>
    createTransformerDiscriminator(compiler, {
      config: smallConfig,
      readout: 'mean',
      random: createRandom('critic'),
    }),
  convolutional: () =>
    createConvolutionalDiscriminator(compiler, {
      vocabSize: 12,
      width: 3,
      maxLength: 24,
      random: createRandom('critic'),
    }),
};

const row = (length: number, start: number) => ({
  tokens: Array.from({ length }, (_, index) => (start + 5 * index) % 11),
  responseStart: 1,
});
const groups: readonly ResponseGroup[] = [
  { teacher: row(5, 1), students: [row(4, 2)] },
  { teacher: row(3, 4), students: [row(5, 7)] },
];
const rows = groups.flatMap(({ teacher, students }) => [teacher, ...students]);
const part = { rows: [0, 1, 2, 3], batch: 4, time: 5 };

describe('scores', () => {
  for (const [kind, make] of Object.entries(makers)) {
    test(`${kind}: padding, order and batching change nothing`, async () => {
      const discriminator = make();
      const trainer = (microBatchTokens: number) =>
        createDiscriminatorTrainer(discriminator, gadSchema.parse({ microBatchTokens }), createRandom(0));
      const together = await trainer(512).score(groups);
      const apart = await trainer(16).score([...groups].reverse());
      together.forEach((group, at) => {
        const other = apart[1 - at];
        [group.teacher - other.teacher, ...group.students.map((score, index) => score - other.students[index])].forEach(
          (difference) => void assert.ok(Math.abs(difference) < 1e-5, `${difference}`),
        );
      });
      const flat = together.flatMap(({ teacher, students }) => [teacher, ...students]);
      assert.ok(
        new Set(flat.map((score) => score.toFixed(6))).size === flat.length,
        'every response has its own score',
      );
      discriminator.dispose();
    });
  }

  test('a copy of the student holds its parameters but for the language head, beside a fresh scalar head', () => {
    const student = createModel(compiler, { ...smallConfig, tiedHead: false }, createRandom('student'));
    const discriminator = createTransformerDiscriminator(compiler, {
      config: student.config,
      from: student,
      readout: 'last',
      random: createRandom('critic'),
    });
    assert.equal(discriminator.parameters.has('lm_head.weight'), false);
    for (const [name, { data }] of discriminator.parameters) {
      if (name !== SCALAR_HEAD) assert.deepEqual(data, student.parameters.get(name)!.data, name);
    }
    assert.ok(discriminator.parameters.get(SCALAR_HEAD)!.data.some((value) => value !== 0));
    const first = discriminator.parameters.get('model.norm.weight')!.data;
    first[0] += 1;
    assert.notEqual(student.parameters.get('model.norm.weight')!.data[0], first[0], 'not shared');
    discriminator.dispose();
    student.dispose();
  });
});

describe('gradient of an update', () => {
  const variants = {
    plain: {},
    'with penalty, spectral normalisation and dropout': { hasPenalty: true, hasSpectral: true, hasDropout: true },
  };
  for (const [kind, make] of Object.entries(makers)) {
    for (const [name, variant] of Object.entries(variants)) {
      test(`${kind}, ${name}: that of Bradley–Terry over the groups, by differences in float64`, async () => {
        const { hasPenalty = false, hasSpectral = false, hasDropout = false } = variant as Record<string, boolean>;
        const discriminator = make();
        const spectral = hasSpectral
          ? createSpectralState(runtime, discriminator.parameters, createRandom(1))
          : undefined;
        // Away from where it began, so that the normalisation does something.
        for (const { data } of discriminator.parameters.values())
          for (let i = 0; i < data.length; i += 2) data[i] *= 1.25;
        spectral?.iterate();
        const objective = discriminatorObjective(discriminator, { spectral, hasDropout, hasPenalty });
        const fill = (coefficients: readonly number[]) => (arrays: NamedArrays) => {
          discriminator.fill(rows, part, arrays);
          (arrays.coefficients as Float32Array).set(coefficients);
          (arrays.penaltyWeights as Float32Array | undefined)?.fill(0.3);
          (arrays.dropout as Float32Array | undefined)?.forEach((_, at, all) => {
            all[at] = at % 3 === 0 ? 0 : 1.5;
          });
        };
        const lossesOf = (scores: ArrayLike<number>) =>
          groups.map((_, at) =>
            discriminatorLoss('bradleyTerry', { teacher: scores[2 * at], students: [scores[2 * at + 1]] }),
          );
        const scores = objective64(objective, part, fill(new Array(4).fill(0))).at().scores.data;
        const coefficients = lossesOf(scores).flatMap(({ teacherGradient, studentGradients }) =>
          [teacherGradient, ...studentGradients].map((value) => value / groups.length),
        );
        const exact = objective64(objective, part, fill(coefficients));
        const total = (moves: Parameters<typeof exact.at>[0]) => {
          const { loss, scores: moved } = exact.at(moves);
          const linear = coefficients.reduce(
            (sum, coefficient, at) => sum + Math.fround(coefficient) * moved.data[at],
            0,
          );
          // What is left of the loss is the penalty.
          return mean(lossesOf(moved.data).map(({ lossNats }) => lossNats)) + loss.data[0] - linear;
        };
        const accumulator = createObjectiveAccumulator<NamedArrays>(objective);
        await accumulator.add({ batch: 4, time: 5, fill: fill(coefficients) });
        for (const [parameter, { data }] of accumulator.gradients) {
          const stride = Math.max(1, Math.floor(data.length / 2));
          for (let index = 0; index < data.length; index += stride) {
            const expected = slope(total, parameter, index);
            // Float32 through second derivatives.
            const tolerance = 2e-4 * Math.max(1, Math.abs(expected));
            assert.ok(
              Math.abs(data[index] - expected) < tolerance,
              `${parameter} ${index}: ${data[index]}, ${expected}`,
            );
          }
        }
        accumulator.dispose();
        spectral?.dispose();
        discriminator.dispose();
      });
    }
  }
});

describe('training the discriminator', () => {
  for (const options of [{}, { spectralNormalization: true }, { dropout: 0.3 }, { gradientPenalty: 0.01 }]) {
    test(`it learns to prefer the teacher's responses ${JSON.stringify(options)}`, async () => {
      const discriminator = makers.transformer();
      const settings = gadSchema.parse({
        microBatchTokens: 32,
        discriminator: { gradientClip: 1, ...options },
      });
      const trainer = createDiscriminatorTrainer(discriminator, settings, createRandom(2));
      let accuracy = 0;
      for (let step = 1; step <= 40; step++) {
        accuracy = (await trainer.update(groups, await trainer.score(groups), { step, learningRate: 0.02 })).accuracy;
      }
      assert.equal(accuracy, 1);
      trainer.dispose();
      discriminator.dispose();
    });
  }

  test('spectral normalisation keeps the largest singular value where it was', () => {
    const weight = runtime.tensor('float32', [3, 2], [3, 0, 0, 2, 0, 0]);
    const state = createSpectralState(runtime, new Map([['w.weight', weight]]), createRandom(3));
    assert.ok(Math.abs(state.tensors.get('spectral.first.w.weight')!.data[0] - 3) < 1e-5);
    state.dispose();
    weight.dispose();
  });
});
