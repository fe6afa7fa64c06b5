/** The generator against `transformers`, against itself in other batches, and at its edges. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { openCheckpoint } from '../model/checkpoint.js';
import { type LanguageModel, loadModel, withLora } from '../model/language-model.js';
import { createRandom } from '../support/random.js';
import { openTokenizer } from '../tokenizer/open.js';
import { createGenerator, type GeneratorOptions } from './generator.js';
import { cacheBytesPerToken, cacheLayout } from './kv-cache.js';
import type { GenerationRequest } from './request.js';
import { createScorer } from './score.js';
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

/** Words t0, t1, … for the ids below `numTokens`. */
const words = (numTokens: number, more: object = {}) =>
  openTokenizer({ kind: 'words', words: Array.from({ length: numTokens }, (_, id) => `t${id}`), ...more });

const greedyRequests = ({ greedy }: Expected): GenerationRequest[] =>
  greedy.map(({ prompt }, index) => ({ id: `${index}`, promptTokens: prompt, maxTokens: 40, sampler: GREEDY }));

describe('greedy tokens', () => {
  for (const family of readdirSync(families)) {
    test(`${family}: those of transformers, all prompts at once, one at a time and in small chunks`, async () => {
      const expected = expectedOf(family);
      const tokenizer = words(expected.numNamedTokens);
      for (const options of [{ maxBatch: 32 }, { maxBatch: 1 }, { chunkSize: 8, prefillTokens: 8 }]) {
        const found = await traces(family, greedyRequests(expected), { tokenizer, ...options });
        for (const [index, { tokens }] of expected.greedy.entries()) {
          assert.deepEqual(found.get(`${index}#0`)?.tokens, tokens);
        }
      }
    });
  }

  test('without a tokenizer the padding rows, which have the highest logits, may be taken', async () => {
    const expected = expectedOf('qwen2.5-padded');
    const found = await traces('qwen2.5-padded', greedyRequests(expected));
    assert.ok([...found.values()].some(({ tokens }) => tokens.some((id) => id >= expected.numNamedTokens)));
  });
});

/** Requests of many lengths and settings. */
const mixedRequests = (maxTokens = 30): GenerationRequest[] =>
  Array.from({ length: 11 }, (_, index) => ({
    id: `row ${index}`,
    promptTokens: Array.from({ length: 1 + ((index * 37) % 90) }, (_, at) => (at * 7 + index * 3) % 60),
    maxTokens: maxTokens - (index % 3) * 5,
    samples: 1 + (index % 3),
    seed: 5,
    sampler: [
      { temperature: 0.8 },
      { topK: 5 },
      { topP: 0.9, temperature: 1.3 },
      { minP: 0.1, repetitionPenalty: 1.3 },
      GREEDY,
    ][index % 5],
  }));

describe('a sequence does not depend on what shares its batch', () => {
  for (const family of ['smollm2', 'llama3.1']) {
    test(`${family}: batches of 1, 5 and 32 give the same tokens`, async () => {
      const alone = await traces(family, mixedRequests(), { maxBatch: 1 });
      for (const maxBatch of [5, 32]) {
        const together = await traces(family, mixedRequests(), { maxBatch });
        assert.equal(together.size, alone.size);
        for (const [key, { tokens, finish }] of alone) {
          assert.deepEqual(together.get(key)?.tokens, tokens, key);
          assert.equal(together.get(key)?.finish, finish);
        }
      }
    });
  }

  test('samples of a prompt differ, as do seeds; the same seed gives the same tokens', async () => {
    const request = { id: 'a', promptTokens: [1, 2, 3], samples: 4, maxTokens: 20 };
    const first = await traces('qwen3', [{ ...request, seed: 1 }]);
    const again = await traces('qwen3', [{ ...request, seed: 1 }]);
    const other = await traces('qwen3', [{ ...request, seed: 2 }]);
    const textOf = (found: Map<string, Trace>) => [...found.keys()].sort().map((key) => found.get(key)!.tokens.join());
    assert.deepEqual(textOf(first), textOf(again));
    assert.equal(new Set([...textOf(first), ...textOf(other)]).size, 8);
  });
});

/** Fails unless the log-probabilities of traces are those of scoring their tokens without a cache. */
async function assertAsScored(family: string, found: ReadonlyMap<string, Trace>): Promise<void> {
  const rows = [...found].map(([id, trace]) => ({ id, tokens: [...trace.promptTokens, ...trace.tokens] }));
  const scored = await createScorer(await modelOf(family)).score(rows);
  for (const { id, logprobs } of scored) {
    const trace = found.get(id)!;
    for (const [index, value] of trace.logprobs.entries()) {
      const uncached = logprobs[trace.promptTokens.length + index]!;
      assert.ok(Math.abs(value - uncached) < 1e-4, `${id} token ${index}: ${value}, uncached ${uncached}`);
    }
  }
}

describe('log-probabilities of a trace are those of scoring without a cache, within 1e-4', () => {
  for (const family of readdirSync(families)) {
    test(family, async () => {
      await assertAsScored(family, await traces(family, mixedRequests(), { chunkSize: 16 }));
    });
  }

  test('a model with adapters', async () => {
    const lora = { rank: 2, alpha: 4, targetModules: ['q_proj', 'v_proj', 'down_proj'] };
    const random = createRandom('adapter');
    const model = withLora(await modelOf('qwen2'), lora, { random });
    for (const [name, { data }] of model.parameters) {
      if (name.includes('lora_B'))
        for (let index = 0; index < data.length; index++) data[index] = 0.3 * random.normal();
    }
    models.set('adapted', model);
    const found = await traces('adapted', mixedRequests());
    await assertAsScored('adapted', found);
    const plain = await traces('qwen2', mixedRequests());
    assert.ok([...found].some(([key, { tokens }]) => tokens.join() !== plain.get(key)?.tokens.join()));
  });

  const promptOf = (length: number) => Array.from({ length }, (_, at) => (at * 13 + length) % 60);

  for (const family of ['llama2', 'qwen3']) {
    test(`${family}: a long prompt enters the cache in pieces while others decode beside it`, async () => {
      const requests = [1, 2, 3, 90].map((length) => ({
        id: `${length}`,
        promptTokens: promptOf(length),
        maxTokens: 35,
      }));
      // Three that decode make a batch of four: its padding row is the slot that is being filled.
      await assertAsScored(family, await traces(family, requests, { chunkSize: 4, prefillTokens: 4 }));
    });

    test(`${family}: the cache grows while sequences stand in it`, async () => {
      const lengths = [30, 70, 80, 100];
      const requests = lengths.map((length) => ({
        id: `${length}`,
        promptTokens: promptOf(length),
        maxTokens: 140 - length,
      }));
      await assertAsScored(family, await traces(family, requests));
    });
  }
});

describe('samples of one prompt', () => {
  test('share its prefix, computed once, and equal separately prefilled ones', async () => {
    const promptTokens = Array.from({ length: 50 }, (_, at) => (at * 11) % 60);
    const shared = [{ id: 'a', promptTokens, samples: 12, maxTokens: 12 }];
    for (const maxBatch of [1, 5, 32]) {
      const generator = createGenerator(await modelOf('qwen2'), { maxBatch });
      const found = new Map<number, Trace>();
      const stats = await generator.generate(shared, { onTrace: (trace) => void found.set(trace.sample, trace) });
      generator.dispose();
      assert.equal(stats.numPrefilledTokens, 49);
      assert.equal(stats.numSharedTokens, 11 * 49);
      const apart = await traces('qwen2', [{ ...shared[0], samples: 1 }]);
      assert.deepEqual(found.get(0)?.tokens, apart.get('a#0')?.tokens);
      const alone = await traces('qwen2', shared, { maxBatch: 1 });
      for (const [sample, { tokens }] of found) assert.deepEqual(tokens, alone.get(`a#${sample}`)?.tokens);
    }
  });
});

describe('the end of a response', () => {
  test('an end-of-sequence id stops it and is its last token', async () => {
    const [{ prompt, tokens }] = expectedOf('llama2').greedy;
    const request = { id: 'a', promptTokens: prompt, maxTokens: 40, sampler: GREEDY, stopTokenIds: [tokens[3]] };
    const trace = (await traces('llama2', [request], { tokenizer: words(64) })).get('a#0')!;
    const first = tokens.indexOf(tokens[3]);
    assert.deepEqual(trace.tokens, tokens.slice(0, first + 1));
    assert.equal(trace.finish, 'stop');
    assert.equal(
      trace.text,
      tokens
        .slice(0, first)
        .map((id) => `t${id}`)
        .join(' '),
    );
  });

  test('a stop string across tokens stops it; the text ends before it and no more is told', async () => {
    const [{ prompt, tokens }] = expectedOf('llama2').greedy;
    const stop = [`${`t${tokens[4]}`.slice(-1)} t${tokens[5]}`];
    const request = { id: 'a', promptTokens: prompt, maxTokens: 40, sampler: GREEDY, stop };
    const generator = createGenerator(await modelOf('llama2'), { tokenizer: words(64) });
    let told = '';
    let trace: Trace | undefined;
    await generator.generate([request], {
      onToken: ({ text }) => {
        told += text;
      },
      onTrace: (done) => {
        trace = done;
      },
    });
    generator.dispose();
    const whole = tokens.map((id) => `t${id}`).join(' ');
    assert.equal(trace?.text, whole.slice(0, whole.indexOf(stop[0])));
    assert.equal(trace?.finish, 'stop');
    assert.equal(told, trace?.text);
    assert.ok(trace.tokens.length < 40);
  });

  test('the limit and the end of the context end it as too long', async () => {
    const { config } = await modelOf('llama2');
    const promptTokens = Array.from({ length: config.maxPositions - 3 }, (_, at) => at % 60);
    const found = await traces('llama2', [
      { id: 'limit', promptTokens: [1], maxTokens: 2 },
      { id: 'context', promptTokens, maxTokens: 40 },
    ]);
    assert.deepEqual([found.get('limit#0')?.finish, found.get('limit#0')?.tokens.length], ['length', 2]);
    assert.deepEqual([found.get('context#0')?.finish, found.get('context#0')?.tokens.length], ['length', 3]);
  });
});

describe('a generator', () => {
  test('gives back all memory, and works on an asynchronous source', async () => {
    const model = await modelOf('qwen2');
    const once = async () => {
      const generator = createGenerator(model);
      let numTraces = 0;
      async function* source() {
        for (const request of mixedRequests(15)) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          yield request;
        }
      }
      const stats = await generator.generate(source(), {
        onTrace: async () => {
          await Promise.resolve();
          numTraces += 1;
        },
      });
      generator.dispose();
      assert.equal(stats.numTraces, numTraces);
      assert.equal(
        numTraces,
        mixedRequests().reduce((sum, { samples }) => sum + samples!, 0),
      );
    };
    await once(); // leaves the rotary tables, which are the model's
    const before = runtime.ownedBytes;
    await once();
    assert.equal(runtime.ownedBytes, before);
  });

  test('stops between steps when told to: unfinished sequences give no trace, finished ones stay', async () => {
    const generator = createGenerator(await modelOf('qwen2'), { maxBatch: 4 });
    const abort = new AbortController();
    const found: Trace[] = [];
    let numTokens = 0;
    const stats = await generator.generate(mixedRequests(), {
      signal: abort.signal,
      onTrace: (trace) => void found.push(trace),
      onToken: () => {
        numTokens += 1;
        if (numTokens === 150) abort.abort();
      },
    });
    assert.equal(stats.isAborted, true);
    assert.equal(stats.numTraces, found.length);
    assert.ok(found.length > 0 && stats.numUnfinished > 0);
    assert.ok(numTokens >= 150 && numTokens < 154);
    // It can be used again.
    assert.equal((await generator.generate([{ id: 'b', promptTokens: [1], maxTokens: 3 }])).numTraces, 1);
    generator.dispose();
  });

  test('an aborted wait for requests ends', async () => {
    const generator = createGenerator(await modelOf('qwen2'));
    const abort = new AbortController();
    async function* never(): AsyncGenerator<GenerationRequest> {
      await new Promise(() => {});
    }
    setTimeout(() => abort.abort(), 5);
    const stats = await generator.generate(never(), { signal: abort.signal });
    generator.dispose();
    assert.equal(stats.isAborted, true);
  });

  test('holds fewer sequences at a time where the cache would take too much, and grows it on demand', async () => {
    const { config } = await modelOf('smollm2');
    const maxCacheBytes = 4 * 128 * cacheBytesPerToken(cacheLayout(config, 'float32'));
    const small = await traces('smollm2', mixedRequests(), { maxCacheBytes });
    const large = await traces('smollm2', mixedRequests());
    for (const [key, { tokens }] of large) assert.deepEqual(small.get(key)?.tokens, tokens);
    const generator = createGenerator(await modelOf('smollm2'), {
      maxCacheBytes: 127 * cacheBytesPerToken(cacheLayout(config, 'float32')),
    });
    const request = { id: 'a', promptTokens: [1], maxTokens: 10 };
    assert.throws(() => generator.check(request), /ConfigError: The key\/value cache of 1 × 128 tokens needs/);
    generator.dispose();
  });

  test('takes a cache for what prompts and responses may come to, not twice that', async () => {
    const model = await modelOf('smollm2');
    const before = runtime.ownedBytes;
    const generator = createGenerator(model, { maxBatch: 8 });
    const results = runtime.ownedBytes - before;
    const requests = Array.from({ length: 8 }, (_, index) => ({
      id: `${index}`,
      promptTokens: Array.from({ length: 90 + index }, (_, at) => 1 + ((at * 7 + index) % 50)),
      maxTokens: 50,
    }));
    await generator.generate(requests);
    const cacheBytes = 8 * 160 * cacheBytesPerToken(cacheLayout(model.config, 'float32')); // 147 rounded up, and not 256
    const feedBytes = 50_000;
    assert.ok(runtime.ownedBytes - before < results + cacheBytes + feedBytes, `${runtime.ownedBytes - before} bytes`);
    assert.ok(runtime.ownedBytes - before >= results + cacheBytes);
    generator.dispose();
  });

  test('refuses wrong requests, naming the row', async () => {
    const generator = createGenerator(await modelOf('llama2'), { tokenizer: words(64) });
    const { maxPositions } = (await modelOf('llama2')).config;
    const refused = (change: object, error: RegExp) =>
      assert.throws(() => generator.check({ id: 'row 7', promptTokens: [1], ...change }), error);
    refused({ promptTokens: [] }, /DataError: Row 'row 7' has no tokens/);
    refused({ promptTokens: [1, 64] }, /DataError: Row 'row 7': token 1 is 64, but the model's ids run from 0 to 63/);
    refused({ promptTokens: [1.5] }, /DataError: Row 'row 7': token 0 is 1.5/);
    refused({ promptTokens: new Array(maxPositions).fill(1) }, /DataError: Row 'row 7': a prompt of .* leaves no room/);
    refused({ maxTokens: 0 }, /ConfigError: Row 'row 7': maxTokens is 0/);
    refused({ samples: 0 }, /ConfigError: Row 'row 7': samples is 0/);
    refused({ sampler: { temperature: -1 } }, /ConfigError: Row 'row 7': sampler: [\s\S]*temperature/);
    refused({ sampler: { tempreature: 1 } }, /ConfigError: Row 'row 7': sampler: [\s\S]*tempreature/);
    refused({ stop: [''] }, /ConfigError: Row 'row 7': stop/);
    generator.dispose();
    const bare = createGenerator(await modelOf('llama2'));
    assert.throws(() => bare.check({ id: 'a', promptTokens: [1], stop: ['x'] }), /ConfigError.*need a tokenizer/);
    bare.dispose();
    assert.throws(() => createGenerator(models.get('llama2')!, { maxBatch: 0 }), /ConfigError: maxBatch is 0/);
  });

  test('a row that is wrong ends the run with its error', async () => {
    const generator = createGenerator(await modelOf('llama2'));
    const requests = [
      { id: 'a', promptTokens: [1], maxTokens: 2 },
      { id: 'b', promptTokens: [] },
    ];
    await assert.rejects(generator.generate(requests), /DataError: Row 'b' has no tokens/);
    generator.dispose();
  });
});
