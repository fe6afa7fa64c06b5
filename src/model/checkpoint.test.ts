import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { ConfigError, ModelLoadError } from '../support/errors.js';
import { createRandom } from '../support/random.js';
import { sharedPath } from '../support/shared-data.fixture.js';
import { openCheckpoint, readConfig } from './checkpoint.js';
import { writeCheckpoint } from './checkpoint-write.js';
import type { TransformerConfig } from './config.js';
import { openSafetensors } from './files/safetensors.js';
import { parseHuggingFaceConfig } from './hugging-face-config.js';
import { initialParameter, parameterSpecs, sizeOfShape } from './parameters.js';

const golden = (name: string) => fileURLToPath(new URL(`../../test/parity/golden/files/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'checkpoint-test-'));
after(() => rmSync(folder, { recursive: true }));
const smollm = sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf');

const config = parseHuggingFaceConfig(
  {
    model_type: 'qwen2',
    vocab_size: 11,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    tie_word_embeddings: true,
    eos_token_id: 3,
  },
  'test',
);
const tensorsOf = (described: TransformerConfig) =>
  parameterSpecs(described).map((spec) => ({
    ...spec,
    values: initialParameter(spec, described, createRandom(spec.name)),
  }));

/** A written checkpoint in a folder of its own. */
async function written(name: string, described = config, more: object = {}): Promise<string> {
  const place = join(folder, name);
  await writeCheckpoint(place, { config: described, tensors: tensorsOf(described), ...more });
  return place;
}

const editJson = (path: string, change: object) =>
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));

test('a written checkpoint opens as the same model with the same weights', async () => {
  const place = await written('round-trip', config, {
    files: { 'tokenizer.json': '{"version":"1.0"}', 'chat_template.jinja': 'hi' },
  });
  const checkpoint = await openCheckpoint(place);
  assert.deepEqual(checkpoint.config, config);
  assert.equal(checkpoint.kind, 'safetensors');
  assert.equal(checkpoint.dtype, 'F32');
  assert.equal(checkpoint.revision, undefined);
  assert.deepEqual(checkpoint.warnings, []);
  assert.deepEqual(checkpoint.tokenizerSource, {
    kind: 'hugging-face',
    tokenizerJson: { version: '1.0' },
    generationConfig: { _from_model_config: true, bos_token_id: null, eos_token_id: 3, pad_token_id: null },
    chatTemplate: 'hi',
  });
  assert.deepEqual([...checkpoint.tokenizerFiles.keys()].sort(), [
    'chat_template.jinja',
    'generation_config.json',
    'tokenizer.json',
  ]);
  for (const { name, shape, values } of tensorsOf(config)) {
    const into = new Float32Array(sizeOfShape(shape));
    checkpoint.read(name, into);
    assert.deepEqual(into, values, name);
  }
  checkpoint.dispose();
});

test('config and weights alone are a checkpoint', async () => {
  const place = await written('bare');
  rmSync(join(place, 'generation_config.json'));
  const checkpoint = await openCheckpoint(place);
  assert.equal(checkpoint.tokenizerSource, undefined);
  assert.deepEqual(checkpoint.config, config);
  checkpoint.dispose();
});

test('generation_config.json has the last word on what ends a sequence', async () => {
  const place = await written('generation');
  editJson(join(place, 'generation_config.json'), { eos_token_id: [3, 5] });
  const checkpoint = await openCheckpoint(place);
  assert.deepEqual(checkpoint.config.eosTokenIds, [3, 5]);
  checkpoint.dispose();
});

test('a bfloat16 checkpoint is half the size and says so in its config', async () => {
  const place = await written('bf16', config, { dtype: 'BF16' });
  const checkpoint = await openCheckpoint(place);
  assert.equal(checkpoint.dtype, 'BF16');
  assert.equal(JSON.parse(readFileSync(join(place, 'config.json'), 'utf8')).torch_dtype, 'bfloat16');
  checkpoint.dispose();
});

test('a filled folder is not overwritten unless asked for, and a failed write leaves nothing', async () => {
  const place = await written('kept');
  const content = { config, tensors: tensorsOf(config) };
  await assert.rejects(writeCheckpoint(place, content), ConfigError);
  await writeCheckpoint(place, { ...content, dtype: 'F16' }, { overwrite: true });
  assert.equal(openSafetensors(join(place, 'model.safetensors')).tensors.get('model.norm.weight')!.dtype, 'F16');
  const failing = {
    ...content,
    tensors: content.tensors.map((tensor) => ({ ...tensor, values: () => assert.fail('no values') })),
  };
  await assert.rejects(writeCheckpoint(join(folder, 'failed'), failing), /no values/);
  assert.ok(!existsSync(join(folder, 'failed')));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('.')),
    [],
  );
});

test('a checkpoint that does not fit its configuration is refused with the difference', async () => {
  const cases: [RegExp, (place: string) => void][] = [
    [/there is no config.json/, (place) => rmSync(join(place, 'config.json'))],
    [/there is no model.safetensors and no .*interrupted/, (place) => rmSync(join(place, 'model.safetensors'))],
    [
      /pickled \(pytorch_model.bin\)/,
      (place) =>
        copyFileSync(join(place, 'model.safetensors'), join(place, 'pytorch_model.bin')) ??
        rmSync(join(place, 'model.safetensors')),
    ],
    [
      /12 of the 38 tensors .* 3 layers needs are missing: model.layers.2/,
      (place) => editJson(join(place, 'config.json'), { num_hidden_layers: 3 }),
    ],
    [
      /1 of the 27 tensors .*missing: lm_head.weight/,
      (place) => editJson(join(place, 'config.json'), { tie_word_embeddings: false }),
    ],
    [
      /tensor model.embed_tokens.weight has shape \[11, 8\]; the configuration needs \[12, 8\]/,
      (place) => editJson(join(place, 'config.json'), { vocab_size: 12 }),
    ],
    [/config.json: not valid JSON/, (place) => writeFileSync(join(place, 'config.json'), '{')],
    [/tokenizer.json: not UTF-8/, (place) => writeFileSync(join(place, 'tokenizer.json'), Buffer.from([0xff, 0xfe]))],
  ];
  for (const [index, [message, damage]] of cases.entries()) {
    const place = await written(`damaged-${index}`);
    damage(place);
    await assert.rejects(
      openCheckpoint(place),
      (error) => error instanceof ModelLoadError && message.test(error.message),
      String(message),
    );
  }
  await assert.rejects(
    openCheckpoint(join(folder, 'absent')),
    /no such file or folder, and it is not the name of a model/,
  );
  const file = join(folder, 'text.txt');
  writeFileSync(file, '');
  await assert.rejects(openCheckpoint(file), /not a model. Name a folder/);
});

test('a tied model with a head of its own: equal is ignored, different is used and noted, as transformers does', async () => {
  const untied = { ...config, tiedHead: false };
  const embedding = tensorsOf(config)[0].values;
  for (const isEqual of [true, false]) {
    const place = join(folder, `head-${isEqual}`);
    const tensors = tensorsOf(untied).map((tensor) =>
      isEqual && tensor.name === 'lm_head.weight' ? { ...tensor, values: embedding } : tensor,
    );
    await writeCheckpoint(place, { config: untied, tensors });
    editJson(join(place, 'config.json'), { tie_word_embeddings: true });
    const checkpoint = await openCheckpoint(place);
    assert.equal(checkpoint.config.tiedHead, isEqual);
    assert.equal(
      checkpoint.parameters.some(({ name }) => name === 'lm_head.weight'),
      !isEqual,
    );
    assert.equal(checkpoint.warnings.length, isEqual ? 0 : 1);
    checkpoint.dispose();
  }
});

test('unknown tensors are named in a warning; computed tables are not', async () => {
  const place = join(folder, 'extra');
  mkdirSync(place);
  await writeCheckpoint(place, { config, tensors: tensorsOf(config) });
  const { writeSafetensors } = await import('./files/safetensors-write.js');
  const extra = ['model.layers.0.self_attn.rotary_emb.inv_freq', 'visual.proj.weight'].map((name) => ({
    name,
    shape: [1],
    values: Float32Array.of(1),
  }));
  await writeSafetensors(join(place, 'model.safetensors'), [...tensorsOf(config), ...extra]);
  const checkpoint = await openCheckpoint(place);
  assert.equal(checkpoint.warnings.length, 1);
  assert.match(checkpoint.warnings[0], /1 tensors are not part of a qwen2 model and were ignored: visual.proj.weight/);
  checkpoint.dispose();
});

test("llama.cpp's order of query and key rows is undone: both files of one model give the same weights", async () => {
  const reference = openSafetensors(golden('tiny-llama.safetensors'));
  const checkpoint = await openCheckpoint(golden('tiny-llama.gguf'));
  assert.equal(checkpoint.config.tiedHead, true);
  assert.equal(checkpoint.config.rmsNormEps, 1e-6);
  assert.equal(checkpoint.tokenizerSource, undefined);
  assert.deepEqual([...reference.tensors.keys()].sort(), checkpoint.parameters.map(({ name }) => name).sort());
  for (const { name, shape } of checkpoint.parameters) {
    const into = new Float32Array(sizeOfShape(shape));
    checkpoint.read(name, into);
    assert.deepEqual(into, reference.read(name), name);
  }
  checkpoint.dispose();
});

test('a damaged GGUF model opens or is refused, never anything else', async () => {
  const valid = readFileSync(golden('tiny-llama.gguf'));
  const place = join(folder, 'mutated.gguf');
  const headerEnd = 1800; // values after it are weights: any bits are valid
  const change = fc.record({ at: fc.nat(headerEnd), byte: fc.oneof(fc.nat(255), fc.nat(8)) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = Buffer.from(valid);
      for (const { at, byte } of changes) bytes[at] = byte;
      writeFileSync(place, bytes);
      try {
        const checkpoint = await openCheckpoint(place);
        for (const { name, shape } of checkpoint.parameters)
          checkpoint.read(name, new Float32Array(sizeOfShape(shape)));
        checkpoint.dispose();
      } catch (error) {
        if (!(error instanceof ModelLoadError)) throw error;
      }
    }),
    { numRuns: 500 },
  );
});

test('a config.json alone describes a model to train from scratch', async () => {
  assert.deepEqual(readConfig(join(await written('scratch'), 'config.json')), config);
});

test('SmolLM2 opens as the model it is', { skip: smollm === undefined && 'needs ../shared/models' }, async () => {
  const checkpoint = await openCheckpoint(smollm!);
  const {
    family,
    vocabSize,
    numLayers,
    numHeads,
    numKvHeads,
    headSize,
    ropeTheta,
    rmsNormEps,
    maxPositions,
    tiedHead,
    eosTokenIds,
  } = checkpoint.config;
  assert.deepEqual(
    {
      family,
      vocabSize,
      numLayers,
      numHeads,
      numKvHeads,
      headSize,
      ropeTheta,
      rmsNormEps,
      maxPositions,
      tiedHead,
      eosTokenIds,
    },
    {
      family: 'llama',
      vocabSize: 49_152,
      numLayers: 30,
      numHeads: 9,
      numKvHeads: 3,
      headSize: 64,
      ropeTheta: 100_000,
      rmsNormEps: 1e-5,
      maxPositions: 8192,
      tiedHead: true,
      eosTokenIds: [2],
    },
  );
  assert.deepEqual(
    [checkpoint.kind, checkpoint.dtype, checkpoint.fileBytes, checkpoint.warnings],
    ['gguf', 'Q4_1', 98_362_432, []],
  );
  assert.equal(checkpoint.tokenizerSource?.kind, 'gguf');
  checkpoint.dispose();
});
