import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createModel, deriveModel } from '../../model/language-model.js';
import { createRandom } from '../../support/random.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import { createObjectiveAccumulator } from '../../training/gradient-accumulator.js';
import { languageModelObjective } from '../../training/objective.js';
import { gadSchema } from './config.js';
import { objective64, slope, smallConfig } from './gad.fixture.js';
import { policyLoss } from './policy-loss.js';
import { createPolicyTrainer } from './policy-trainer.js';
import { createRolloutSampler } from './rollouts.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const model = createModel(compiler, smallConfig, createRandom('policy'));
const shape = { batch: 2, time: 6 };
const numTokens = 12;
const wave = (scale: number, shift: number) =>
  Float32Array.from({ length: numTokens }, (_, index) => scale * Math.sin(2.1 * index + shift));

describe('loss of the policy', () => {
  for (const temperature of [1, 0.8]) {
    test(`at temperature ${temperature}: value by its formula, gradient by differences, clipped on both sides`, async () => {
      const settings = { temperature, clipFraction: 0.2, klWeight: 0.3 };
      const objective = languageModelObjective(model, policyLoss(settings), { checkpointing: false });
      const weights = Float32Array.from({ length: numTokens }, (_, index) => (index % 6 < 2 ? 0 : 0.125));
      const columns = {
        weights,
        advantages: wave(1.5, 0),
        oldLogprobs: new Float32Array(numTokens),
        referenceLogprobs: new Float32Array(numTokens),
      };
      const fill = (arrays: NamedArrays) => {
        for (const name of ['tokens', 'targets']) {
          (arrays[name] as BigInt64Array).forEach((_, index, all) => {
            all[index] = BigInt((3 * index + (name === 'tokens' ? 1 : 4)) % 11);
          });
        }
        for (const [name, values] of Object.entries(columns)) (arrays[name] as Float32Array).set(values);
      };
      const now = objective64(objective, shape, fill).at().logprobs.data;
      // Ratios from e^−0.6 to e^0.6: some inside the clip range, some outside on either side.
      columns.oldLogprobs.set(wave(0.6, 1).map((value, index) => now[index] - value));
      columns.referenceLogprobs.set(wave(0.8, 2).map((value, index) => now[index] + value));
      const exact = objective64(objective, shape, fill);

      let expected = 0;
      const sides = { up: 0, down: 0, inside: 0 };
      for (let index = 0; index < numTokens; index++) {
        const advantage = columns.advantages[index];
        const ratio = Math.exp(now[index] - columns.oldLogprobs[index]);
        const clipped = Math.min(Math.max(ratio, 0.8), 1.2);
        const d = columns.referenceLogprobs[index] - now[index];
        expected += weights[index] * (0.3 * (Math.exp(d) - d - 1) - Math.min(ratio * advantage, clipped * advantage));
        if (weights[index] === 0) continue;
        const isCut = advantage > 0 ? ratio > 1.2 : ratio < 0.8;
        sides[isCut ? (advantage > 0 ? 'up' : 'down') : 'inside'] += 1;
      }
      assert.ok(
        Object.values(sides).every((count) => count > 0),
        JSON.stringify(sides),
      );
      assert.ok(Math.abs(exact.at().loss.data[0] - expected) < 1e-6);

      const accumulator = createObjectiveAccumulator<NamedArrays>(objective);
      const loss = await accumulator.add({ ...shape, fill });
      assert.ok(Math.abs(loss - expected) < 2e-6, `${loss}, expected ${expected}`);
      for (const [parameter, { data }] of accumulator.gradients) {
        const stride = Math.max(1, Math.floor(data.length / 2));
        for (let index = 0; index < data.length; index += stride) {
          const difference = slope((moves) => exact.at(moves).loss.data[0], parameter, index);
          assert.ok(Math.abs(data[index] - difference) < 2e-5, `${parameter} ${index}: ${data[index]}, ${difference}`);
        }
      }
      accumulator.dispose();
    });
  }
});

describe('a step of the policy', () => {
  const prompts = [
    { id: 'a', tokens: [1, 2, 3] },
    { id: 'b', tokens: [4, 5, 6, 7, 8] },
  ];
  const config = gadSchema.parse({
    temperature: 0.8,
    maxTokens: 8,
    learningRate: 0.02,
    klWeight: 0.01,
    gradientClip: 10,
    microBatchTokens: 32,
  });

  test('training finds the log-probabilities that sampling had, within 1e-4; the KL to a copy is 0', async () => {
    const student = deriveModel(model, (_, source, into) => into.set(source));
    const reference = deriveModel(model, (_, source, into) => into.set(source));
    const sampler = createRolloutSampler(student, { ...config, maxBatch: 8 });
    const policy = createPolicyTrainer(student, reference, config);
    const groups = await sampler.sample(prompts, { groupSize: 4, seed: 1 });
    assert.deepEqual(
      groups.map((group) => group.length),
      [4, 4],
    );
    for (const { tokens, responseStart, logprobs, isFinished } of groups.flat()) {
      assert.equal(logprobs.length, tokens.length - responseStart);
      assert.equal(isFinished, tokens.at(-1) === 11);
    }
    const rewarded = groups.map((group) =>
      group.map((rollout, index) => ({ ...rollout, advantage: index === 0 ? 1 : -1 / 3 })),
    );
    const { samplingDifferenceNats, klNats, clippedFraction } = await policy.reinforce(rewarded, config.learningRate);
    assert.ok(samplingDifferenceNats < 1e-4, `${samplingDifferenceNats}`);
    assert.ok(klNats < 1e-8, `${klNats}`);
    assert.equal(clippedFraction, 0);

    // Sampled again from the parameters that were just changed in place.
    const later = await policy.reinforce(rewarded, config.learningRate);
    assert.ok(later.klNats > 1e-6, 'the student has left the reference');
    assert.ok(later.samplingDifferenceNats > 1e-3, 'these rollouts are of the student before');
    const again = await sampler.sample(prompts, { groupSize: 4, seed: 2 });
    const fresh = await policy.reinforce(
      again.map((group) => group.map((rollout) => ({ ...rollout, advantage: 0 }))),
      0,
    );
    assert.ok(fresh.samplingDifferenceNats < 1e-4, 'the sampler sees the new weights');
    for (const part of [sampler, policy, student, reference]) part.dispose();
  });

  test('rewarded responses become likelier; the same seed gives the same rollouts', async () => {
    const student = deriveModel(model, (_, source, into) => into.set(source));
    const sampler = createRolloutSampler(student, { ...config, maxBatch: 3 });
    const policy = createPolicyTrainer(student, model, { ...config, updatesPerRollout: 2 });
    const groups = await sampler.sample(prompts, { groupSize: 4, seed: 3 });
    assert.deepEqual(await sampler.sample(prompts, { groupSize: 4, seed: 3 }), groups);
    const rewarded = groups.map((group) =>
      group.map((rollout, index) => ({ ...rollout, advantage: index === 1 ? 1 : -1 / 3 })),
    );
    for (let step = 0; step < 6; step++) await policy.reinforce(rewarded, config.learningRate);
    assert.equal(policy.optimizer.step, 12, 'two updates a rollout');
    const after = await sampler.sample(prompts, { groupSize: 64, seed: 4 });
    const share = (of: number) =>
      after[of].filter(
        ({ tokens }) => tokens[prompts[of].tokens.length] === groups[of][1].tokens[prompts[of].tokens.length],
      ).length;
    const before = await createRolloutSampler(model, { ...config, maxBatch: 64 }).sample(prompts, {
      groupSize: 64,
      seed: 4,
    });
    const shareBefore = (of: number) =>
      before[of].filter(
        ({ tokens }) => tokens[prompts[of].tokens.length] === groups[of][1].tokens[prompts[of].tokens.length],
      ).length;
    assert.ok(share(0) + share(1) > shareBefore(0) + shareBefore(1), `${share(0)} ${share(1)}`);
    for (const part of [sampler, policy, student]) part.dispose();
  });
});
