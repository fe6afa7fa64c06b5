/** The proxy artefact: its values against PyTorch, its files, its refusals, and the step it chooses. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { writeSafetensors } from '../../model/files/safetensors-write.js';
import { loadGoldenModel } from '../../training/training.fixture.js';
import { golden, loadGoldenProxy, proxyOf } from './antidistillation.fixture.js';
import { type ProxyArtefact, readProxy, writeProxy } from './proxy.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const root = mkdtempSync(join(tmpdir(), 'azeotrope-proxy-'));
after(() => {
  compiler.dispose();
  runtime.dispose();
  rmSync(root, { recursive: true });
});

const model = await loadGoldenProxy(compiler);
const { config } = model;
const before = runtime.ownedBytes;
const proxy = await proxyOf(model);
const folder = join(root, 'proxy');
await writeProxy(folder, config, proxy);

test('loss and gradient are those of PyTorch in float64, one for a tied matrix; no memory is kept', () => {
  assert.ok(Math.abs(proxy.lossNats - golden.lossNats) < 1e-5 * golden.lossNats);
  assert.equal(proxy.responseTokens, golden.responseTokens);
  assert.ok(Math.abs(proxy.gradientNorm - golden.gradientNorm) < 1e-5 * golden.gradientNorm);
  assert.deepEqual([...proxy.gradient.keys()].sort(), golden.gradient.map(({ name }) => name).sort());
  for (const { name, stride, norm, values } of golden.gradient) {
    const gradient = proxy.gradient.get(name)!;
    // 1e-5 of the tensor's size, spread over its elements
    values.forEach((value, index) => {
      assert.ok(Math.abs(gradient[index * stride] - value) < 1e-5 * norm, `${name}[${index * stride}]`);
    });
  }
  assert.ok(runtime.ownedBytes - before < 2 ** 17, 'rotary tables alone');
});

test('it is read as it was written', () => {
  assert.deepEqual(readdirSync(folder).sort(), ['gradient.safetensors', 'proxy.json']);
  assert.deepEqual(readProxy(folder, config), proxy);
  const record = JSON.parse(readFileSync(join(folder, 'proxy.json'), 'utf8'));
  assert.equal(record.schemaVersion, 1);
  assert.deepEqual(record.epsilonStudy, proxy.epsilonStudy);
});

test('a central difference converges to the derivative as ε² until rounding, and ε is where its error is least', () => {
  const { epsilonStudy } = proxy;
  const least = epsilonStudy.reduce((best, next) => (next.error < best.error ? next : best));
  assert.equal(proxy.epsilon, least.epsilon);
  const at = epsilonStudy.indexOf(least);
  assert.ok(at > 0 && at < epsilonStudy.length - 1, 'it lies inside the range that was tried');
  assert.ok(least.error < 1e-3, `${least.error}`);
  // Half decades: beyond the least error it grows tenfold a step, as ε² does, and below it about threefold, as 1/ε does.
  const growth = epsilonStudy.slice(at + 1, at + 3).map(({ error }, index) => error / epsilonStudy[at + index].error);
  assert.ok(growth[1] > 8 && growth[1] < 12, `${growth}`);
  assert.ok(epsilonStudy[0].error > 5 * least.error);
});

/** A copy of the proxy with one of its files changed. */
function changed(name: string, change: (copy: string) => void): string {
  const copy = join(root, name);
  cpSync(folder, copy, { recursive: true });
  change(copy);
  return copy;
}

const changeRecord = (name: string, change: (record: Record<string, unknown>) => void): string =>
  changed(name, (copy) => {
    const path = join(copy, 'proxy.json');
    const record = JSON.parse(readFileSync(path, 'utf8'));
    change(record);
    writeFileSync(path, JSON.stringify(record));
  });

test('what is no proxy, damaged, or of another model is refused in one sentence that says what to do', async () => {
  const other = await loadGoldenModel(compiler, golden.teacher);
  const refused: [string, typeof config, RegExp][] = [
    [
      join(root, 'nowhere'),
      config,
      /nowhere is no proxy: there is no proxy\.json in it\. Make one with azeotrope proxy\./,
    ],
    [folder, other.config, /proxy was made with a model, a model of another configuration\. Name that model/],
    [
      changeRecord('old', (record) => void Object.assign(record, { schemaVersion: 0 })),
      config,
      /proxy\.json: schemaVersion: .*Make the proxy/,
    ],
    [changeRecord('less', (record) => void delete record.epsilon), config, /proxy\.json: epsilon: /],
    [changed('torn', (copy) => writeFileSync(join(copy, 'proxy.json'), '{"a')), config, /not valid JSON/],
    [changed('half', (copy) => rmSync(join(copy, 'gradient.safetensors'))), config, /gradient\.safetensors/],
  ];
  const [first, ...rest] = [...model.parameters].map(([name, { shape }]) => ({
    name,
    shape,
    values: proxy.gradient.get(name)!,
  }));
  const zeros = [first, ...rest].map((tensor) => ({ ...tensor, values: new Float32Array(tensor.values.length) }));
  const spoilt = { ...first, values: first.values.map((value, index) => (index === 3 ? Number.NaN : value)) };
  const transposed = { ...first, shape: [...first.shape].reverse() };
  const gradients: [string, Parameters<typeof writeSafetensors>[1], RegExp][] = [
    ['zero', zeros, /the gradient is zero/],
    ['spoilt', [spoilt, ...rest], /the gradient is not finite/],
    ['missing', rest, /of another model: it has no tensor model\.embed_tokens\.weight/],
    ['unknown', [first, ...rest, { ...first, name: 'x' }], /of another model: it has a tensor x/],
    ['misshapen', [transposed, ...rest], /embed_tokens\.weight is \[48, 64\] in it, \[64, 48\] in the model/],
  ];
  for (const [name, tensors, told] of gradients) {
    const copy = changed(name, () => {});
    await writeSafetensors(join(copy, 'gradient.safetensors'), tensors);
    refused.push([copy, config, told]);
  }
  for (const [path, wanted, told] of refused) {
    assert.throws(
      () => readProxy(path, wanted),
      (error: Error) =>
        told.test(error.message) && !error.message.startsWith('internal') && error.name.endsWith('Error'),
      path,
    );
  }
  other.dispose();
});

test('ids with a meaning and the length of the context may differ', () => {
  assert.deepEqual(readProxy(folder, { ...config, maxPositions: 9, eosTokenIds: [1] }), proxy);
});

test('an empty holdout, and a gradient that is zero or not finite, make no proxy', async () => {
  await assert.rejects(proxyOf(model, []), /DataError: holdout\.jsonl: the holdout is empty/);
  const prompts = golden.holdout.map((row) => ({ ...row, responseStart: row.tokens.length }));
  await assert.rejects(proxyOf(model, prompts), /DataError: None of the 5 rows has a response token/);
  const broken = await loadGoldenProxy(compiler);
  broken.parameters.get('model.norm.weight')!.data.fill(Number.NaN);
  await assert.rejects(proxyOf(broken), /DataError: holdout\.jsonl: the gradient of .* is not finite/);
  // Without a final state every logit is 0 whatever the weights below: only the final norm and the head could change it.
  for (const { data } of broken.parameters.values()) data.fill(0);
  await assert.rejects(proxyOf(broken), /DataError: holdout\.jsonl: the gradient of .* is zero/);
  broken.dispose();
});

test('what is written does not depend on the order of the rows', async () => {
  const again: ProxyArtefact = await proxyOf(model, [...golden.holdout].reverse());
  assert.ok(Math.abs(again.gradientNorm - proxy.gradientNorm) < 1e-5 * proxy.gradientNorm);
});
