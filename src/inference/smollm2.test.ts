/** A real model: greedy tokens of SmolLM2-135M-Instruct against transformers in float32 and llama.cpp. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { openCheckpoint } from '../model/checkpoint.js';
import { loadModel } from '../model/language-model.js';
import { sharedPath } from '../support/shared-data.fixture.js';
import { openTokenizer } from '../tokenizer/open.js';
import { createGenerator } from './generator.js';
import type { Trace } from './trace.js';

const path = sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf');
const golden = join(import.meta.dirname, '..', '..', 'test', 'parity', 'golden', 'llama-cpp');
const read = (name: string) => JSON.parse(readFileSync(join(golden, name), 'utf8'));

interface Float32Row {
  id: string;
  promptTokens: number[];
  tokens: number[];
  seconds: number[];
  gaps: number[];
}

/** AZEOTROPE_ALL_PROMPTS=1 takes all 20. */
const NUM_PROMPTS = process.env.AZEOTROPE_ALL_PROMPTS === '1' ? 20 : 6;
const NUM_TOKENS = 32;
/** Logits of two float32 implementations of this model differ by less. */
const NEAR_TIE = 1e-3;

test(`SmolLM2: the ${NUM_TOKENS} tokens of transformers, and of llama.cpp on most of ${NUM_PROMPTS} prompts`, {
  skip: path === undefined && 'needs shared/models',
}, async () => {
  const rows = (read('smollm2-float32.json').rows as Float32Row[]).slice(0, NUM_PROMPTS);
  const llamaCpp = read('smollm2-greedy.json').rows as { id: string; tokens: number[] }[];
  const runtime = openRuntime({ threads: 1 });
  const compiler = createCompiler(runtime);
  const checkpoint = await openCheckpoint(path!);
  const tokenizer = openTokenizer(checkpoint.tokenizerSource!);
  const model = loadModel(compiler, checkpoint);
  const generator = createGenerator(model, { tokenizer });
  const traces = new Map<string, Trace>();
  await generator.generate(
    rows.map(({ id, promptTokens }) => ({ id, promptTokens, maxTokens: NUM_TOKENS, sampler: { temperature: 0 } })),
    { onTrace: (trace) => void traces.set(trace.id, trace) },
  );
  let numAsLlamaCpp = 0;
  for (const { id, tokens, seconds, gaps } of rows) {
    const trace = traces.get(id)!;
    const expected = tokens.slice(0, NUM_TOKENS);
    const different = expected.findIndex((token, index) => trace.tokens[index] !== token);
    if (different >= 0) {
      assert.equal(trace.tokens[different], seconds[different], `row ${id}, token ${different}`);
      assert.ok(gaps[different] < NEAR_TIE, `row ${id}, token ${different}: a gap of ${gaps[different]}`);
    }
    const other = llamaCpp.find((row) => row.id === id)!.tokens.slice(0, NUM_TOKENS);
    numAsLlamaCpp += Number(other.join() === trace.tokens.join());
    assert.ok(trace.text.length > 0);
  }
  assert.ok(numAsLlamaCpp > NUM_PROMPTS / 2, `${numAsLlamaCpp} of ${NUM_PROMPTS}`);
  generator.dispose();
  model.dispose();
  checkpoint.dispose();
  compiler.dispose();
  runtime.dispose();
});
