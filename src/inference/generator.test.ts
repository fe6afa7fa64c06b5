/** The generator against `transformers`, against itself in other batches, and at its edges. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { openCheckpoint } from '../model/checkpoint.js';
import { type LanguageModel, loadModel } from '../model/language-model.js';
import { createGenerator, type GeneratorOptions } from './generator.js';
import type { GenerationRequest } from './request.js';
import type { Trace } from './trace.js';

const families = join(import.meta.dirname, '..', '..', 'test', 'parity', 'golden', 'families');
const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

interface Expected {
  numNamedTokens: number;
  rows: { id: string; tokens: number[]; logprobs: (number | null)[] }[];
  greedy: { prompt: number[]; tokens: number[] }[];
}
const expectedOf = (family: string): Expected =>
  JSON.parse(readFileSync(join(families, family, 'expected.json'), 'utf8'));
const models = new Map<string, LanguageModel>();
const modelOf = async (family: string): Promise<LanguageModel> => {
  const model = models.get(family) ?? loadModel(compiler, await openCheckpoint(join(families, family)));
  models.set(family, model);
  return model;
};

async function traces(
  family: string,
  requests: readonly GenerationRequest[],
  options: GeneratorOptions = {},
): Promise<Map<string, Trace>> {
  const generator = createGenerator(await modelOf(family), options);
  const found = new Map<string, Trace>();
  await generator.generate(requests, { onTrace: (trace) => void found.set(`${trace.id}#${trace.sample}`, trace) });
  generator.dispose();
  return found;
}

const GREEDY = { temperature: 0 };

describe('greedy tokens', () => {
  for (const family of readdirSync(families)) {
    test(`${family}: those of transformers, all prompts at once and one at a time`, async () => {
      const { greedy, numNamedTokens } = expectedOf(family);
      const { vocabSize } = (await modelOf(family)).config;
      void numNamedTokens; void vocabSize;
      const requests = greedy.map(({ prompt }, index) => ({
        id: String(index),
        promptTokens: prompt,
        maxTokens: 40,
        sampler: GREEDY,
      }));
      for (const maxBatch of [32, 1]) {
        const found = await traces(family, requests, { maxBatch });
        greedy.forEach(({ tokens }, index) => assert.deepEqual(found.get(`${index}#0`)!.tokens, tokens));
      }
    });
  }
});
