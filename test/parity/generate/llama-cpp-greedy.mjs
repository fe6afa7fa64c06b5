/**
 * Writes golden/llama-cpp/smollm2-greedy.json: llama.cpp's greedy tokens for the prompts of smollm2-float32.json.
 *
 * Run: node llama-cpp-greedy.mjs SmolLM2-135M-Instruct.Q4_1.gguf   (needs `npm ci --prefix bench/peers`)
 *
 * llama.cpp multiplies Q4_1 weights with activations rounded to 8 bits, and keeps keys and values in float16, so it may leave the
 * float32 path where two logits nearly tie. Each row says where, and how near the tie was in float32.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadNodeLlamaCpp } from '../../../bench/peers/node-llama-cpp.mjs';

const NUM_TOKENS = 48;
const CONTEXT_TOKENS = 1024;
const golden = join(dirname(fileURLToPath(import.meta.url)), '..', 'golden', 'llama-cpp');

/** Index of the first difference between llama.cpp's tokens and the float32 ones, with the float32 gap there; or null. */
function firstDifference(tokens, float32) {
  const index = tokens.findIndex((token, i) => token !== float32.tokens[i]);
  if (index < 0) return null;
  return {
    index,
    llamaCpp: tokens[index],
    float32: float32.tokens[index],
    // logit of the best minus logit of the second; llama.cpp's choice is usually that second one
    isSecondBest: tokens[index] === float32.seconds[index],
    gap: float32.gaps[index],
  };
}

async function main(modelPath) {
  const { getLlama, version } = await loadNodeLlamaCpp();
  const float32 = JSON.parse(readFileSync(join(golden, 'smollm2-float32.json'), 'utf8'));
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  const context = await model.createContext({ contextSize: CONTEXT_TOKENS, threads: 1, flashAttention: false });
  const sequence = context.getSequence();
  const rows = [];
  for (const row of float32.rows) {
    await sequence.clearHistory();
    const tokens = [];
    for await (const token of sequence.evaluate([...row.promptTokens], { temperature: 0, yieldEogToken: true })) {
      tokens.push(token);
      if (tokens.length === NUM_TOKENS || token === float32.eosTokenId) break;
    }
    const promptIdsEqual = model.tokenize(row.prompt, true).join() === row.promptTokens.join();
    rows.push({
      id: row.id,
      promptTokens: row.promptTokens,
      promptIdsEqual,
      tokens,
      firstDifference: firstDifference(tokens, row),
    });
    console.log(rows.length, promptIdsEqual ? '' : 'prompt ids differ', JSON.stringify(rows.at(-1).firstDifference));
  }
  const made = `node-llama-cpp ${version} (llama.cpp ${llama.llamaCppRelease.release})`;
  const lines = rows.map((row) => `  ${JSON.stringify(row)}`).join(',\n');
  const text = `{\n "model": ${JSON.stringify(float32.model)},\n "made": ${JSON.stringify(made)},\n "rows": [\n${lines}\n ]\n}\n`;
  writeFileSync(join(golden, 'smollm2-greedy.json'), text);
  process.exit(0); // the binding keeps the event loop alive
}

if (process.argv.length !== 3) {
  console.error('usage: node llama-cpp-greedy.mjs SmolLM2-135M-Instruct.Q4_1.gguf');
  process.exit(2);
}
await main(process.argv[2]);
