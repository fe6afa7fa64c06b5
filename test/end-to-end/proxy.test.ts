import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { familyFolder, readRows, run, runJson, temporaryFolder, writeRows } from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);
const golden = JSON.parse(readFileSync(new URL('../parity/golden/antidistillation.json', import.meta.url), 'utf8'));
const model = (name: string) => familyFolder(name.replace('families/', ''));
const [teacher, proxyModel] = [model(golden.teacher), model(golden.proxy)];
const holdout = writeRows(file('holdout.jsonl'), golden.holdout);
const input = writeRows(
  file('rows.jsonl'),
  golden.rows.map(({ id, tokens }: { id: string; tokens: number[] }) => ({ id, tokens })),
);

test('a proxy is made and scores with Δ and the sampling distribution follow, as in PyTorch in float64', async () => {
  const proxy = file('proxy');
  const made = await runJson(['proxy', '--model', proxyModel, '--holdout', holdout, '--output', proxy]);
  assert.deepEqual(readdirSync(proxy).sort(), ['gradient.safetensors', 'proxy.json']);
  assert.ok(Math.abs(made.lossNats - golden.lossNats) < 1e-4);
  assert.ok(Math.abs(made.gradientNorm - golden.gradientNorm) < 1e-4);
  assert.equal(made.responseTokens, golden.responseTokens);

  const scale = Math.max(...golden.rows.flatMap(({ delta }: { delta: number[] }) => delta.map(Math.abs)));
  const { temperature, lambda } = golden.rows[0].probabilities[2];
  const tolerances = { jvp: 2e-5, central: 2e-3, forward: 2e-2 };
  await Promise.all(
    Object.entries(tolerances).map(async ([estimator, tolerance]) => {
      const output = file(`${estimator}.jsonl`);
      const tilt = ['--distribution', '--temperature', `${temperature}`, '--lambda', `${lambda}`];
      const how = ['--proxy', proxy, '--estimator', estimator, '--top-k', '3', ...tilt];
      await runJson(['score', '--model', teacher, '--input', input, '--output', output, ...how]);
      readRows(output).forEach((row, index) => {
        const expected = golden.rows[index];
        const { delta, deltaTop, probabilities, ...rest } = row;
        assert.deepEqual(Object.keys(rest), ['id', 'tokens', 'logprobs', 'top', 'precision']);
        assert.equal(delta[0], null);
        delta.slice(1).forEach((value: number, at: number) => {
          assert.ok(Math.abs(value - expected.delta[at + 1]) < tolerance * scale, `${estimator}: ${value}`);
        });
        assert.ok(deltaTop.slice(1).every((list: unknown[]) => list.length === 3));
        probabilities.forEach((value: number, id: number) => {
          const wanted = expected.probabilities[2].values[id];
          assert.ok(Math.abs(value - wanted) < 10 * tolerance * lambda * scale, `${estimator}: ${value} for ${wanted}`);
        });
      });
    }),
  );
});

test('a mistake is one message and exit code 2, and nothing is written', async () => {
  const score = ['score', '--model', teacher, '--input', input, '--output', file('refused.jsonl')];
  const make = ['proxy', '--model', proxyModel, '--output', file('refused')];
  const sample = ['sample', '--model', teacher, '--input', input, '--output', file('refused.jsonl')];
  const empty = writeRows(file('empty.jsonl'), []);
  const proxy = file('of-llama');
  await runJson(['proxy', '--model', model('llama2'), '--holdout', holdout, '--output', proxy]);
  const zero = file('of-nothing');
  await runJson(['proxy', '--model', proxyModel, '--holdout', holdout, '--output', zero]);
  const gradient = readFileSync(join(zero, 'gradient.safetensors'));
  writeFileSync(join(zero, 'gradient.safetensors'), gradient.fill(0, 8 + Number(gradient.readBigUInt64LE())));
  const cases: [string[], RegExp][] = [
    [[...sample, '--proxy', zero, '--sampler', 'antidistillation', '--lambda', '1'], /the gradient is zero/],
    [[...make, '--holdout', empty], /empty\.jsonl: there are no rows in this file/],
    [[...make, '--holdout', file('gone.jsonl')], /Cannot read .*gone\.jsonl/],
    [[...score, '--lambda', '0.1', '--distribution'], /are about a proxy\. Name its folder with --proxy/],
    [[...score, '--proxy-tokenizer', 'except-special'], /--proxy-tokenizer.* are about a proxy/],
    [[...score, '--proxy', proxy, '--lambda', '0.1'], /--lambda shapes the distribution alone\. Add --distribution/],
    [[...score, '--proxy', proxy, '--epsilon', '0.1'], /--estimator jvp is the exact derivative/],
    [[...score, '--proxy', proxy, '--proxy-model', proxyModel], /a model of another configuration/],
    [[...score, '--proxy', folder], /is no proxy: there is no proxy\.json in it\. Make one with azeotrope proxy/],
    [[...sample, '--proxy', proxy, '--lambda', '0.1'], /--sampler temperature tilts nothing\. Add --sampler/],
    [[...sample, '--proxy', proxy, '--temperature', '0'], /at --temperature 0 nothing is drawn/],
    [[...make, '--holdout', holdout, '--precision', 'auto'], /--precision: expected one of float32, bfloat16/],
    [[...score, '--proxy', proxy, '--estimator', 'exact'], /--estimator: expected one of jvp, central, forward/],
  ];
  await Promise.all(
    cases.map(async ([args, message]) => {
      const { code, stdout, stderr } = await run(args);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' }, stderr);
      assert.match(stderr, message);
    }),
  );
  assert.ok(!existsSync(file('refused.jsonl')) && !existsSync(file('refused')));
});

test('plain sampling beside a proxy draws what it draws without one, and tells Δ of each token and a divergence of 0', async () => {
  const proxy = file('beside');
  await runJson(['proxy', '--model', proxyModel, '--holdout', holdout, '--output', proxy]);
  const sample = (name: string, ...more: string[]) =>
    runJson([
      ...['sample', '--model', teacher, '--input', input, '--output', file(name), '--max-tokens', '5', ...more],
    ]);
  await sample('beside.jsonl', '--proxy', proxy);
  await sample('alone.jsonl');
  const [beside, alone] = ['beside.jsonl', 'alone.jsonl'].map((name) => readRows(file(name)));
  assert.deepEqual(
    beside.map(({ tokens }) => tokens),
    alone.map(({ tokens }) => tokens),
  );
  for (const { tokens, statistics } of beside) {
    assert.equal(statistics.delta.length, tokens.length);
    assert.ok(statistics.delta.some((value: number) => value !== 0));
    assert.ok(statistics.klNats.every((value: number) => value === 0));
  }
  assert.ok(alone.every((row) => !('statistics' in row)));
});
