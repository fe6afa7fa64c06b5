import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { familyFolder, finish, type RunOptions, run, start, temporaryFolder, writeRows } from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);
const ids = familyFolder('qwen3');
const words = familyFolder('qwen2.5-padded');
const tokens = (length: number) => Array.from({ length }, (_, index) => (index % 50) + 3);
const good = writeRows(file('good.jsonl'), [{ id: 1, tokens: tokens(8), responseStart: 2 }]);

function text(name: string, content: string): string {
  writeFileSync(file(name), content);
  return file(name);
}

/** A copy of the model in which something is wrong. */
function model(name: string, damage: (folder: string) => void): string {
  cpSync(ids, file(name), { recursive: true });
  damage(file(name));
  return file(name);
}

function withConfig(name: string, changes: object): string {
  return model(name, (at) => {
    const config = JSON.parse(readFileSync(join(at, 'config.json'), 'utf8'));
    writeFileSync(join(at, 'config.json'), JSON.stringify({ ...config, ...changes }));
  });
}

let numRuns = 0;
/** Every mistake: exit code 2; at the end one message without a stack; nothing on standard output; no output file. */
async function refuses(args: (output: string) => string[], message: RegExp, options?: RunOptions): Promise<void> {
  const output = file(`output-${numRuns++}`);
  const { code, stdout, stderr } = await run(args(output), options);
  const told = `${args(output).join(' ')}\n${stderr}`;
  assert.deepEqual({ code, stdout }, { code: 2, stdout: '' }, told);
  const [, ...messages] = stderr.split(/^azeotrope: /m);
  assert.equal(messages.length, 1, told);
  assert.match(stderr, message, told);
  assert.doesNotMatch(stderr, /\n\s+at |internal:|undefined|\[object/, told);
  assert.ok(messages[0].trimEnd().split('\n').length <= 3, told);
  assert.ok(!existsSync(output), `${told}\nleft ${output}`);
}

type Case = [args: string[], message: RegExp, options?: RunOptions];

/** A few at a time: most of each run is waiting for the start of the process. */
async function refuseAll(
  cases: readonly Case[],
  complete: (args: string[], output: string) => string[],
): Promise<void> {
  const queue = [...cases];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [args, message, options] = next;
      await refuses((output) => complete(args, output), message, options);
    }
  };
  await Promise.all([worker(), worker(), worker()]);
}

const sampleOf = (args: string[], output: string) => [
  ...['sample', ...(args.includes('--model') ? [] : ['--model', ids])],
  ...(args.includes('--input') ? [] : ['--input', good]),
  ...['--output', output, ...args],
];
const trainOf = (args: string[], output: string) => [
  ...['train', ...(args.includes('--model') || args.includes('--init') ? [] : ['--model', ids])],
  ...(args.includes('--traces') ? [] : ['--traces', good]),
  ...(args.includes('--output') ? args : ['--output', output, ...args]),
];

test('flags and configuration files: what is wrong, where, and what was meant', async () => {
  await refuseAll(
    [
      [['--temprature', '1'], /unknown option '--temprature'.*--temperature/],
      [['--temperature', '-1'], /--temperature: expected a number, at least 0.*; got "?-1/],
      [['--max-tokens', '1.5'], /--max-tokens: expected a whole number.*; got "1\.5"/],
      [['--threads', '0'], /--threads: expected a whole number, at least 1.*; got "0"/],
      [['--chat', 'alwys'], /--chat: expected one of auto, never; got "alwys"/],
      [['--config', text('typo.yaml', 'seed: 1\nmaxTokns: 5\n')], /typo\.yaml:2: unknown key "maxTokns".*maxTokens/],
      [
        ['--config', text('type.yaml', 'maxTokens: many\n')],
        /type\.yaml:1: maxTokens: expected a whole number.*; got "many"/,
      ],
      [['--config', text('bad.yaml', 'seed: 1\n  x: [\n')], /bad\.yaml:\d: /],
      [['--prompt', 'w5'], /Give either --input and --output, or --prompt alone/],
      [['--stop', 'x'], /stop strings need a tokenizer/],
    ],
    sampleOf,
  );
  await refuses(() => ['report'], /the argument <run> is missing: Output folder of azeotrope tradeoff/);
  await refuses(() => ['tradeoff', '--output', folder], /holds other things \(.*and no run\.json: it is no run folder/);
  await refuses(() => ['sampel'], /unknown command 'sampel'.*sample/);
  await refuses(() => ['score', '--model', ids], /--input is missing.*\n.*--output is missing/);
});

test('rows: the file, the line and the key', async () => {
  const rows = (name: string, ...content: unknown[]) => ['--input', writeRows(file(name), content)];
  const training = (name: string, ...content: unknown[]) => ['--traces', writeRows(file(name), content)];
  await refuseAll(
    [
      [['--input', file('none.jsonl')], /Cannot read .*none\.jsonl: there is no such file or folder/],
      [['--input', folder], /Cannot read .*: it is a folder, not a file/],
      [['--input', text('empty.jsonl', '')], /empty\.jsonl: there are no rows in this file/],
      [rows('no-id.jsonl', { tokens: [1] }), /no-id\.jsonl:1: the row has no "id"/],
      [rows('text.jsonl', { id: 1, prompt: 'w5' }), /text\.jsonl:1: the row is text, but the model has no tokenizer/],
      [
        rows('long.jsonl', { id: 'x', tokens: tokens(512) }),
        /Row 'x': a prompt of 512 tokens leaves no room.* context of 512/,
      ],
      [rows('void.jsonl', { id: 'x', tokens: [] }), /Row 'x'.*(no|least one).* token/],
    ],
    sampleOf,
  ); // prettier-ignore
  const long = writeRows(file('long-row.jsonl'), [{ id: 'x', tokens: tokens(513) }]);
  await refuseAll([[['--input', long], /Row 'x' has 513 tokens, but the model's context is 512/]], (args, output) => [
    ...['score', '--model', ids, '--output', output, ...args],
  ]);
  await refuseAll(
    [
      [
        training('unanswered.jsonl', { id: 1, prompt: 'w5 w6' }).concat('--model', words),
        /None of the 1 rows has a response token/,
      ],
      [training('overlong.jsonl', { id: 'y', tokens: tokens(600) }), /Row "y" has 600 tokens; at most 512 are allowed/],
      [['--validation', text('no-rows.jsonl', '\n')], /no-rows\.jsonl: there are no rows/],
    ],
    trainOf,
  ); // prettier-ignore
});

test('models: what is missing or broken, and where', async () => {
  const weights = 'model.safetensors';
  const cases: Case[] = [
    [[file('no-model')], /no-model: there is no such file or folder, and it is not the name of a model on the hub/],
    [
      [good],
      /good\.jsonl: not a model\. Name a folder that holds config\.json and safetensors files, or a \.gguf file/,
    ],
    [[folder], /there is no config\.json/],
    [
      [withConfig('foreign', { model_type: 'mamba', architectures: ['MambaForCausalLM'] })],
      /mamba.*(supported|known)/i,
    ],
    [
      [withConfig('mismatch', { vocab_size: 65 })],
      /tensor model\.embed_tokens\.weight has shape \[64, 40\]; the configuration needs \[65, 40\]/,
    ],
    [
      [withConfig('deeper', { num_hidden_layers: 3 })],
      /tensors that a qwen3 model with 3 layers needs are missing: model\.layers\.2/,
    ],
    [
      [model('truncated', (at) => truncateSync(join(at, weights), 20_000))],
      /truncated.model\.safetensors: .*(truncated|cut|end|bytes)/,
    ],
    [
      [
        model('pickled', (at) => {
          writeFileSync(join(at, weights), '\x80\x02}q\x00.');
        }),
      ],
      /pickled.model\.safetensors: /,
    ],
    [[model('broken-json', (at) => writeFileSync(join(at, 'config.json'), '{'))], /broken-json.config\.json/],
    [[text('empty.gguf', '')], /empty\.gguf/],
    [[text('text.gguf', 'This is no model at all, but it is long enough for a header.')], /text\.gguf/],
    [['nobody/nothing'], /nobody\/nothing/, { env: { HF_HUB_OFFLINE: '1', HF_HOME: file('hub') } }],
  ]; // prettier-ignore
  await refuseAll(cases, ([path]) => ['inspect', path]);
  await refuseAll([[['--model', file('no-model')], /no such file/]], sampleOf);
});

test('training: impossible settings, foreign folders, and a loss that is no number any more', async () => {
  mkdirSync(file('other'));
  copyFileSync(good, join(file('other'), 'notes.txt'));
  await refuseAll(
    [
      [['--learning-rate', 'NaN'], /--learning-rate: expected a number.*; got "?NaN/],
      [['--learning-rate', '0'], /--learning-rate: expected a number, more than 0; got "0"/],
      [['--epochs', '-1'], /--epochs: expected a number/],
      [['--lora-targets', 'k_prj', '--lora-rank', '2'], /--lora-targets: .*k_prj/],
      [['--merge'], /merge adds LoRA adapters into the weights; without lora there is nothing to merge/],
      [['--max-length', '1000'], /maxLength is 1000; the model's context is 512 tokens/],
      [['--init', join(ids, 'config.json'), '--lora-rank', '2'], /adapters of weights that are kept nowhere/],
      [['--init', file('no-config.json')], /no-config\.json/],
      [['--output', file('other')], /other: the folder holds other things \(notes\.txt\)\. Name another output/],
      [['--output', good], /good\.jsonl is a file\. Name a folder/],
      [['--output', join(good, 'below')], /Cannot write .*below: a part of the path is a file/],
    ],
    trainOf,
  ); // prettier-ignore
  assert.deepEqual(readdirSync(file('other')), ['notes.txt']);

  const many = Array.from({ length: 20 }, (_, id) => ({ id: `row-${id}`, tokens: tokens(20 + id), responseStart: 2 }));
  const output = file('diverged');
  const { code, stderr } = await run([
    ...['train', '--model', ids, '--traces', writeRows(file('many.jsonl'), many), '--output', output],
    ...['--learning-rate', '1e38', '--batch-size', '4', '--epochs', '20', '--checkpoint-every-steps', '1'],
  ]);
  assert.equal(code, 2, stderr);
  assert.match(
    stderr,
    /azeotrope: Training diverged at step \d+: the loss is \S+, the norm of the gradient (NaN|Infinity)\. Rows of the batch: row-\d+, row-\d+, row-\d+, row-\d+\. The last good checkpoint is .*diverged.checkpoints.step-\d+\. Look at these rows, or use a lower learningRate\.\n$/,
  );
  assert.ok(!existsSync(join(output, 'config.json')));
});

test('a full disk is told, and what was written before it is whole and continued', {
  skip: process.platform === 'win32' && 'no file size limits',
}, async () => {
  const rows = writeRows(
    file('disk.jsonl'),
    Array.from({ length: 40 }, (_, id) => ({ id, tokens: tokens(400) })),
  );
  const limited = { shell: 'trap "" XFSZ; ulimit -f 40' }; // blocks of 1 KiB
  const output = file('disk-scores.jsonl');
  const score = ['score', '--model', ids, '--input', rows, '--output', output];
  const first = await run(score, limited);
  assert.equal(first.code, 2, first.stderr);
  assert.match(
    first.stderr,
    /azeotrope: Cannot write .*disk-scores\.jsonl: the disk is full \(EFBIG\)\. Free some space, then run the command again\.\n$/,
  );
  const kept = readFileSync(output, 'utf8');
  assert.ok(kept.length > 0 && kept.endsWith('}\n'));
  const second = await run(score);
  assert.equal(second.code, 0, second.stderr);
  assert.equal(readFileSync(output, 'utf8').split('\n').length, 41);
  assert.ok(readFileSync(output, 'utf8').startsWith(kept));

  const trained = await run(trainOf(['--max-steps', '1'], file('disk-model')), limited);
  assert.equal(trained.code, 2, trained.stderr);
  assert.match(trained.stderr, /azeotrope: Cannot write .*disk-model.*: the disk is full \(EFBIG\)/);
  assert.ok(!existsSync(join(file('disk-model'), 'config.json')));
});

test('a reader of standard output that leaves early is no error', async () => {
  const child = start(['sample', '--model', words, '--prompt', 'w5 w6', '--max-tokens', '200']);
  child.stdout!.once('data', () => child.stdout!.destroy());
  const { code, stderr } = await finish(child);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});
