/**
 * Batch-1 decoding speed of llama.cpp (through node-llama-cpp) on a GGUF file. Prints one JSON line.
 *
 *   node llama_cpp.mjs --model FILE.gguf [--threads 1] [--prompt 64] [--new 128] [--repeats 3]
 */
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { loadNodeLlamaCpp } from './node-llama-cpp.mjs';

const USAGE = 'usage: node llama_cpp.mjs --model FILE.gguf [--threads 1] [--prompt 64] [--new 128] [--repeats 3]';

function readArguments() {
  const text = (value) => ({ type: 'string', default: value });
  try {
    const { values } = parseArgs({
      options: {
        model: { type: 'string' },
        threads: text('1'),
        prompt: text('64'),
        new: text('128'),
        repeats: text('3'),
      },
    });
    const count = (name) => {
      const value = Number(values[name]);
      if (!Number.isInteger(value) || value < 1)
        throw new Error(`--${name}: expected a positive integer, got ${values[name]}`);
      return value;
    };
    if (values.model === undefined) throw new Error('--model is missing');
    return {
      model: values.model,
      threads: count('threads'),
      prompt: count('prompt'),
      numNew: count('new'),
      repeats: count('repeats'),
    };
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    process.exit(2);
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Seconds to the first token (prompt included) and seconds for the `numNew − 1` tokens after it. */
async function measure(sequence, prompt, numNew) {
  await sequence.clearHistory();
  const start = performance.now();
  let first = start;
  let count = 0;
  for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    count += 1;
    if (count === 1) first = performance.now();
    if (count === numNew) break;
  }
  if (count < numNew) throw new Error(`llama.cpp stopped after ${count} of ${numNew} tokens; choose a smaller --new`);
  return { prefillSeconds: (first - start) / 1000, decodeSeconds: (performance.now() - first) / 1000 };
}

const options = readArguments();
const { getLlama, version } = await loadNodeLlamaCpp();
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const start = performance.now();
const model = await llama.loadModel({ modelPath: options.model, gpuLayers: 0 });
const contextSize = options.prompt + options.numNew + 8;
const context = await model.createContext({ contextSize, threads: options.threads, batchSize: 512 });
const loadSeconds = (performance.now() - start) / 1000;
const sequence = context.getSequence();
const words = model.tokenize(
  'The quick brown fox jumps over the lazy dog and then tells a long story about it. ',
  false,
);
const prompt = Array.from({ length: options.prompt }, (_, i) => words[i % words.length]);
await measure(sequence, prompt, 2);
const runs = [];
for (let i = 0; i < options.repeats; i++) runs.push(await measure(sequence, prompt, options.numNew));
const round = (value) => Math.round(value * 10) / 10;
const decode = runs.map((run) => (options.numNew - 1) / run.decodeSeconds);
const prefill = runs.map((run) => options.prompt / run.prefillSeconds);
console.log(
  JSON.stringify({
    peer: 'llama.cpp',
    version: `node-llama-cpp ${version}, llama.cpp ${llama.llamaCppRelease.release}`,
    model: basename(options.model),
    threads: options.threads,
    batch: 1,
    promptTokens: options.prompt,
    newTokens: options.numNew,
    decodeTokensPerSecondMedian: round(median(decode)),
    decodeTokensPerSecondBest: round(Math.max(...decode)),
    promptTokensPerSecondMedian: round(median(prefill)),
    promptTokensPerSecondBest: round(Math.max(...prefill)),
    loadSeconds: Math.round(loadSeconds * 1000) / 1000,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  }),
);
process.exit(0); // the binding keeps the event loop alive
