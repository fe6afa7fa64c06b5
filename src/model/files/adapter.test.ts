import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ModelLoadError } from '../../support/errors.js';
import { readConfig } from '../checkpoint.js';
import { readAdapter, writeAdapter } from './adapter.js';
import { openSafetensors } from './safetensors.js';

const golden = fileURLToPath(new URL('../../../test/parity/golden', import.meta.url));
const saved = join(golden, 'lora', 'adapter');
const config = readConfig(join(golden, 'families', 'qwen2', 'config.json'));
const folder = mkdtempSync(join(tmpdir(), 'adapter-test-'));
after(() => rmSync(folder, { recursive: true }));

const jsonOf = (path: string) => JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'));

test('an adapter that peft saved is read, and written again with the same names, values and settings', async () => {
  const adapter = readAdapter(saved, config);
  assert.deepEqual(adapter.lora, { rank: 4, alpha: 8, targetModules: ['down_proj', 'q_proj', 'v_proj'] });
  assert.equal(adapter.baseModel, 'families/qwen2');
  const copy = join(folder, 'copy');
  await writeAdapter(copy, config, adapter);
  assert.deepEqual(readdirSync(copy).sort(), readdirSync(saved).sort());
  const [theirs, ours] = [saved, copy].map((path) => openSafetensors(join(path, 'adapter_model.safetensors')));
  assert.deepEqual([...ours.tensors.keys()].sort(), [...theirs.tensors.keys()].sort());
  assert.deepEqual(ours.metadata, theirs.metadata);
  for (const [name, { shape }] of theirs.tensors) {
    assert.deepEqual(ours.tensors.get(name)!.shape, shape);
    assert.deepEqual(ours.read(name), theirs.read(name));
  }
  const peft = jsonOf(saved);
  for (const [key, value] of Object.entries(jsonOf(copy))) assert.deepEqual(value, peft[key], key);
  theirs.dispose();
  ours.dispose();
  await writeAdapter(copy, config, adapter);
});

test('rank-stabilised adapters are scaled by alpha over the root of the rank', () => {
  const { lora } = readAdapter(changed({ use_rslora: true }), config);
  assert.equal(lora.alpha / lora.rank, 8 / Math.sqrt(4));
});

let numChanged = 0;

/** The golden adapter with other settings. */
function changed(settings: object): string {
  const path = join(folder, `changed-${numChanged++}`);
  cpSync(saved, path, { recursive: true });
  writeFileSync(join(path, 'adapter_config.json'), JSON.stringify({ ...jsonOf(path), ...settings }));
  return path;
}

test('what would be computed wrongly, or is broken, is refused in one sentence that names the file', () => {
  const cases: [object, RegExp][] = [
    [{ peft_type: 'PREFIX_TUNING' }, /peft_type is "PREFIX_TUNING"/],
    [{ use_dora: true }, /use_dora is true, which is not supported/],
    [{ bias: 'all' }, /bias is "all"/],
    [{ alpha_pattern: { q_proj: 1 } }, /alpha_pattern/],
    [{ modules_to_save: ['lm_head'] }, /modules_to_save/],
    [{ layers_to_transform: 1 }, /layers_to_transform is 1/],
    [{ r: 0 }, /r is 0; expected a whole number/],
    [{ r: '4' }, /r is "4"/],
    [{ lora_alpha: null }, /lora_alpha is null/],
    [{ target_modules: '.*proj' }, /a pattern is not supported/],
    [{ target_modules: ['q_porj'] }, /'q_porj' is unknown. Did you mean "q_proj"/],
    [{ target_modules: ['q_proj'] }, /belongs to no module/],
    [{ target_modules: ['q_proj', 'v_proj', 'down_proj', 'k_proj'] }, /there is no tensor .*k_proj/],
    [{ r: 8 }, /has shape \[4, 48\]; this model and rank 8 need \[8, 48\]/],
  ];
  for (const [settings, message] of cases) {
    const path = changed(settings);
    assert.throws(
      () => readAdapter(path, config),
      (error) => error instanceof ModelLoadError && message.test(error.message) && error.message.startsWith(path),
      `${JSON.stringify(settings)} should fail with ${message}`,
    );
  }
  assert.throws(() => readAdapter(folder, config), /there is no such file/);
  const path = changed({});
  writeFileSync(join(path, 'adapter_config.json'), '[]');
  assert.throws(() => readAdapter(path, config), /expected an object/);
});
