import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspectModel } from '../../src/jobs/inspect.js';
import {
  expectedOf,
  familyFolder,
  familyNames,
  readRows,
  run,
  runJson,
  temporaryFolder,
  writeRows,
} from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);
const model = familyFolder('smollm2');
const rows = writeRows(file('rows.jsonl'), [
  { id: 'a', tokens: [5, 6, 7, 8, 9], responseStart: 2 },
  { id: 'b', tokens: [15, 16, 17, 18], responseStart: 2 },
]);

test('a configuration file gives what the same flags give, for every command; flags win over it', async () => {
  const yaml = (name: string, lines: string[]) => {
    writeFileSync(file(name), `# the same as the flags\n${lines.join('\n')}\n`);
    return ['--config', file(name)];
  };
  const same = async (name: string, flags: string[], lines: string[], read: (output: string) => unknown) => {
    const [byFlags, byFile] = [file(`${name}-flags`), file(`${name}-file`)];
    const config = yaml(`${name}.yaml`, lines);
    await Promise.all([
      runJson([name, ...flags, '--output', byFlags]),
      runJson([name, ...config, '--output', byFile, '--threads', '1']),
    ]);
    assert.deepEqual(read(byFile), read(byFlags));
  };
  const common = ['--model', model, '--threads', '1'];
  await same(
    'sample',
    [...common, '--input', rows, '--max-tokens', '6', '--temperature', '0.5', '--seed', '4', '--samples', '2'],
    [`model: ${model}`, `input: ${rows}`, 'maxTokens: 6', 'temperature: 0.5', 'seed: 4', 'samples: 2', 'threads: 2'],
    readRows,
  );
  await same(
    'score',
    [...common, '--input', rows, '--top-k', '2'],
    [`model: ${model}`, `input: ${rows}`, 'topK: 2'],
    readRows,
  );
  await same(
    'train',
    [
      ...common,
      '--traces',
      rows,
      '--epochs',
      '3',
      '--lora-rank',
      '2',
      '--lora-targets',
      'q_proj',
      '--lora-targets',
      'v_proj',
      '--no-json',
    ],
    [`model: ${model}`, `traces: ${rows}`, 'epochs: 3', 'loraRank: 2', 'loraTargets: [q_proj, v_proj]'],
    (output) => readFileSync(join(output, 'adapter_model.safetensors')),
  ); // prettier-ignore
  const config = yaml('inspect.yaml', [`model: ${model}`]);
  assert.deepEqual(await runJson(['inspect', ...config]), await runJson(['inspect', model]));
});

test('under --json standard output is one line of JSON, without it none; --quiet leaves standard error empty', async () => {
  const score = (name: string, ...more: string[]) =>
    run(['score', '--model', model, '--input', rows, '--output', file(name), ...more]);
  const [plain, json, quiet] = await Promise.all([
    score('plain.jsonl'),
    score('json.jsonl', '--json'),
    score('quiet.jsonl', '--quiet'),
  ]);
  assert.equal(plain.stdout, '');
  assert.match(
    plain.stderr,
    /^scoring: 2\/2 rows.*\n5 response tokens, \d\.\d{4} nats each \((?:float32|bfloat16)\), written to .*plain\.jsonl\.\n$/,
  );
  assert.match(json.stdout, /^\{.*\}\n$/);
  const { output, precision, numRows, numResponseTokens, lossNats, ...rest } = JSON.parse(json.stdout);
  assert.deepEqual(
    { output, numRows, numResponseTokens, rest },
    { output: file('json.jsonl'), numRows: 2, numResponseTokens: 5, rest: {} },
  );
  assert.equal(precision, readRows(output)[0].precision);
  const nats = readRows(output).flatMap(({ logprobs }) => logprobs.slice(2)) as number[];
  assert.ok(Math.abs(lossNats + nats.reduce((a, b) => a + b) / 5) < 1e-9);
  assert.deepEqual(quiet, { code: 0, stdout: '', stderr: '' });
});

const parity = fileURLToPath(new URL('../parity/golden/files', import.meta.url));

test('inspect tells of every family, and of a GGUF file, what its config.json says', async () => {
  const inspect = async (name: string) => {
    const path = familyFolder(name);
    const inspection = await inspectModel(path);
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
    assert.equal(inspection.kind, 'safetensors');
    assert.equal(inspection.config.numLayers, config.num_hidden_layers);
    assert.equal(inspection.config.hiddenSize, config.hidden_size);
    assert.equal(inspection.config.vocabSize, config.vocab_size);
    assert.equal(inspection.config.family, expectedOf(name).family, name);
    assert.deepEqual(inspection.tokenizer === null, name !== 'qwen2.5-padded');
    const { weightBytes, runBytes, trainBytes, trainLoraBytes } = inspection.memory;
    assert.equal(weightBytes, 4 * inspection.numParameters);
    assert.ok(weightBytes < runBytes && runBytes < trainBytes && trainLoraBytes < trainBytes);
  };
  for (const name of familyNames) await inspect(name);
  const [gguf, text] = await Promise.all([
    runJson(['inspect', join(parity, 'tiny-llama.gguf')]),
    run(['inspect', familyFolder('llama3.1')]),
  ]);
  assert.equal(gguf.kind, 'gguf');
  assert.equal(gguf.config.family, 'llama');
  for (const word of ['family', 'parameters', 'llama3 scaling', 'heads', 'memory to run', 'memory to train']) {
    assert.ok(text.stdout.includes(word), `${word}\n${text.stdout}`);
  }
});

test('every command has help with its flags and an example, on standard output', async () => {
  const results = await Promise.all(
    ['sample', 'score', 'train', 'inspect', 'demo'].map((name) => run([name, '--help'])),
  );
  for (const { code, stdout, stderr } of results) {
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    for (const flag of [
      '--json',
      '--seed <number>',
      '--threads <number>',
      '--config <file>',
      'Examples:\n  azeotrope ',
    ]) {
      assert.ok(stdout.includes(flag), `${flag}\n${stdout}`);
    }
  }
});
