// Ids of llama.cpp's tokenizer for SmolLM2-135M-Instruct, written to ../golden/tokenizer/smollm2-gguf.json as [[text, ids]].
// Needs node-llama-cpp, which is no dependency of this package:
//   node smollm2-gguf.mjs <folder whose node_modules has it> <SmolLM2-135M-Instruct.Q4_1.gguf> <folder of shared data>
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [place, modelPath, data] = process.argv.slice(2);
const { getLlama } = await import(createRequire(join(place, 'package.json')).resolve('node-llama-cpp'));
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const model = await llama.loadModel({ modelPath, vocabOnly: true });

const rows = (file, key, count) =>
  readFileSync(join(data, file), 'utf8')
    .split('\n')
    .slice(0, count)
    .map((line) => JSON.parse(line)[key]);
const small = JSON.parse(readFileSync(new URL('../golden/tokenizer/small.json', import.meta.url), 'utf8'));
const texts = [
  ...small.smollm.cases.map(([text]) => text),
  ...rows('gsm8k/train.jsonl', 'question', 12),
  ...rows('math/math500.jsonl', 'solution', 8),
  '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n',
  '<|endoftext|> text <|im_start|><|im_end|> 12<repo_name>',
];
// llama.cpp takes a C string: a zero byte would end it.
const cases = texts.filter((text) => !text.includes('\0')).map((text) => [text, [...model.tokenize(text, true)]]);
writeFileSync(new URL('../golden/tokenizer/smollm2-gguf.json', import.meta.url), `${JSON.stringify(cases)}\n`);
await llama.dispose();
