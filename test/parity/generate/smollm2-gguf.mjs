// Ids of llama.cpp's tokenizer for SmolLM2-135M-Instruct, and for the same vocabulary under other names of its pre-tokenizer,
// written to ../golden/tokenizer/smollm2-gguf.json as {pre-tokenizer: [[text, ids]]}. Needs node-llama-cpp, which is no
// dependency of this package, and a copy of the model for each other name, made by
//   python -m gguf.scripts.gguf_new_metadata --pre-tokenizer NAME SmolLM2-135M-Instruct.Q4_1.gguf NAME.gguf
//
//   node smollm2-gguf.mjs <folder whose node_modules has it> <folder of shared data> smollm=MODEL.gguf qwen2=qwen2.gguf …
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [place, data, ...models] = process.argv.slice(2);
const { getLlama } = await import(createRequire(join(place, 'package.json')).resolve('node-llama-cpp'));
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });

const rows = (file, key, count) =>
  readFileSync(join(data, file), 'utf8')
    .split('\n')
    .slice(0, count)
    .map((line) => JSON.parse(line)[key]);
const small = JSON.parse(readFileSync(new URL('../golden/tokenizer/small.json', import.meta.url), 'utf8'));
const texts = [
  ...small.smollm.cases.map(([text]) => text),
  ...rows('gsm8k/train.jsonl', 'question', 8),
  ...rows('math/math500.jsonl', 'solution', 6),
  '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n',
  '<|endoftext|> text <|im_start|><|im_end|> 12<repo_name>',
].filter((text) => !text.includes('\0')); // llama.cpp takes a C string

const golden = {};
for (const entry of models) {
  const [name, modelPath] = entry.split('=');
  const model = await llama.loadModel({ modelPath, vocabOnly: true });
  golden[name] = texts.map((text) => [text, [...model.tokenize(text, true)]]);
  await model.dispose();
}
writeFileSync(new URL('../golden/tokenizer/smollm2-gguf.json', import.meta.url), `${JSON.stringify(golden)}\n`);
await llama.dispose();
