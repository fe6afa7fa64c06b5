/** From holdout rows to a proxy, and from a proxy to scores: in one process, on files. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { writeCheckpoint } from '../model/checkpoint-write.js';
import { goldenPath, readGolden } from '../training/training.fixture.js';
import { type MakeProxyOptions, makeProxy } from './make-proxy.js';
import { type OpenedModel, openModel } from './open-model.js';
import { openProxy } from './open-proxy.js';
import { type ScoreRowsOptions, scoreRows } from './score-rows.js';

const golden = readGolden('antidistillation.json');
const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const root = mkdtempSync(join(tmpdir(), 'azeotrope-proxy-jobs-'));
after(() => {
  compiler.dispose();
  runtime.dispose();
  rmSync(root, { recursive: true });
});

const file = (name: string) => join(root, name);
// biome-ignore lint/suspicious/noExplicitAny: rows of several formats
type Row = any;
const write = (name: string, rows: readonly Row[]): string => {
  writeFileSync(file(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file(name);
};
const read = (path: string): Row[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const holdout = write('holdout.jsonl', golden.holdout);
const rows = write(
  'rows.jsonl',
  golden.rows.map(({ id, tokens }: Row) => ({ id, tokens })),
);
const open = (model: string): Promise<OpenedModel> => openModel(model, { compiler });
const teacher = await open(goldenPath(golden.teacher));
const proxyLocation = goldenPath(golden.proxy);
const make = async (location: string, output: string, more: Partial<MakeProxyOptions> = {}) => {
  const opened = await open(location);
  try {
    return await makeProxy(opened, { holdout, output, microBatchTokens: 128, ...more });
  } finally {
    opened.dispose();
  }
};
const folder = file('proxy');
const made = await make(proxyLocation, folder);

function assertClose(got: readonly (number | null)[], wanted: readonly (number | null)[], tolerance: number): void {
  assert.equal(got.length, wanted.length);
  got.forEach((value, index) => {
    if (wanted[index] === null) assert.equal(value, null);
    else assert.ok(Math.abs(value! - wanted[index]!) <= tolerance, `${index}: ${value}, not ${wanted[index]}`);
  });
}

describe('a proxy and the scores it adds', () => {
  test('Δ, the largest Δ and the distributions are those of PyTorch in float64', async () => {
    const opened = await openProxy(folder, teacher);
    const scale = Math.max(...golden.rows.flatMap(({ delta }: Row) => delta.map(Math.abs)));
    for (const [index, { temperature, lambda }] of golden.rows[0].probabilities.entries()) {
      const output = file(`scores-${index}.jsonl`);
      const deltas = { proxy: opened, estimator: 'jvp' as const, distribution: { temperature, lambda } };
      await scoreRows(teacher, { input: rows, output, topK: 5, deltas });
      read(output).forEach((row, at) => {
        const expected = golden.rows[at];
        const { id, tokens, logprobs, top, delta, deltaTop, probabilities, ...rest } = row;
        assert.deepEqual(
          { id, tokens, rest },
          { id: expected.id, tokens: expected.tokens, rest: { precision: 'float32' } },
        );
        assert.deepEqual([logprobs.length, top.length], [tokens.length, tokens.length]);
        assertClose(delta, expected.delta, 2e-5 * scale);
        assert.equal(deltaTop[0], null);
        deltaTop.slice(1).forEach((list: [number, number][], position: number) => {
          assert.equal(list.length, 5);
          const own = list.find(([token]) => token === tokens[position + 1]);
          if (own !== undefined) assert.ok(Math.abs(own[1] - delta[position + 1]) < 1e-6 * scale);
          assert.ok(own !== undefined || list[4][1] >= delta[position + 1]);
        });
        // Δ is right to 2e-5 · 140, which λ of at most 0.2 makes 6e-4 of a probability.
        assertClose(probabilities, expected.probabilities[index].values, 1e-3);
        const sum = probabilities.reduce((total: number, value: number) => total + value, 0);
        assert.ok(Math.abs(sum - 1) < 1e-12);
      });
    }
    opened.dispose();
  });

  test('a step that leaves no finite number is refused, and nothing of it is written', async () => {
    const opened = await openProxy(folder, teacher);
    const output = file('far.jsonl');
    const deltas = { proxy: opened, estimator: 'central' as const, epsilon: 1e30 };
    await assert.rejects(scoreRows(teacher, { input: rows, output, deltas }), /Row '.*': Δ is not finite/);
    assert.deepEqual(read(output), []);
    opened.dispose();
  });

  test('without a proxy the distribution is the tempered softmax of the log-probabilities', async () => {
    const output = file('plain.jsonl');
    const { vocabSize } = teacher.model.config;
    const input = write('one.jsonl', [{ id: 'r', tokens: [...golden.rows[1].tokens] }]);
    const withNext = write('next.jsonl', [{ id: 'r', tokens: [...golden.rows[1].tokens, 0] }]);
    const distribution = { temperature: 0.6, lambda: 0 };
    await scoreRows(teacher, { input, output, deltas: { estimator: 'jvp', distribution } });
    await scoreRows(teacher, { input: withNext, output: file('all.jsonl'), topK: vocabSize });
    const [{ probabilities, ...rest }] = read(output);
    assert.deepEqual(Object.keys(rest), ['id', 'tokens', 'logprobs', 'precision']);
    const tempered = new Array<number>(vocabSize);
    for (const [id, logprob] of read(file('all.jsonl'))[0].top.at(-1)) tempered[id] = Math.exp(logprob / 0.6);
    const total = tempered.reduce((sum, value) => sum + value, 0);
    assertClose(
      probabilities,
      tempered.map((value) => value / total),
      1e-6,
    );
    const cut = { ...distribution, topK: 3 };
    await scoreRows(teacher, { input, output: file('cut.jsonl'), deltas: { estimator: 'jvp', distribution: cut } });
    const kept = new Set([...tempered.keys()].sort((a, b) => tempered[b] - tempered[a]).slice(0, 3));
    const keptTotal = [...kept].reduce((sum, id) => sum + tempered[id], 0);
    assertClose(
      read(file('cut.jsonl'))[0].probabilities,
      tempered.map((value, id) => (kept.has(id) ? value / keptTotal : 0)),
      1e-6,
    );
  });

  test('a run goes on where it stopped, and other settings are refused', async () => {
    const opened = await openProxy(folder, teacher);
    const output = file('stopped.jsonl');
    const deltas = { proxy: opened, estimator: 'jvp' as const, distribution: { temperature: 0.7, lambda: 0.1 } };
    const score = (change: Partial<ScoreRowsOptions> = {}) =>
      scoreRows(teacher, { input: rows, output, deltas, ...change });
    await score();
    const whole = readFileSync(output, 'utf8');
    const straight = read(output);
    writeFileSync(output, whole.split('\n').slice(0, 2).join('\n').concat('\n'));
    await score();
    const continued = read(output);
    assert.equal(continued.length, golden.rows.length);
    continued.forEach((row, index) => {
      assert.deepEqual([row.id, row.tokens], [straight[index].id, straight[index].tokens]);
      assertClose(row.delta, straight[index].delta, 1e-3);
      assertClose(row.probabilities, straight[index].probabilities, 1e-4);
    });
    const reduced = { ...deltas, distribution: undefined };
    const cases: [Partial<ScoreRowsOptions>, RegExp][] = [
      [{ deltas: undefined }, /ConfigError: .*stopped\.jsonl:1: .*its rows have a "delta", now none is asked for/],
      [{ deltas: reduced }, /have a "probabilities", now none/],
      [
        { deltas: { ...deltas, distribution: { temperature: 0.7, lambda: -0.2 } } },
        /"probabilities" has other numbers/,
      ],
      [{ deltas: { ...deltas, estimator: 'central', epsilon: 0.05 } }, /"delta" has other numbers/],
    ];
    for (const [change, told] of cases) await assert.rejects(score(change), told);
    opened.dispose();
  });
});

describe('a proxy artefact', () => {
  test('says what it is made of, and is not made twice or overwritten', async () => {
    const record = JSON.parse(readFileSync(join(folder, 'proxy.json'), 'utf8'));
    assert.equal(record.provenance.model, proxyLocation);
    assert.equal(record.provenance.holdout.numRows, golden.holdout.length);
    assert.equal(record.provenance.packageVersion, JSON.parse(readFileSync('package.json', 'utf8')).version);
    const { modelHash, configHash, holdout: source } = record.provenance;
    for (const hash of [modelHash, configHash, source.sha256]) assert.match(hash, /^[0-9a-f]{64}$/);
    assert.deepEqual(await make(proxyLocation, folder), made);
    const other = write('other.jsonl', golden.holdout.slice(1));
    await assert.rejects(
      make(proxyLocation, folder, { holdout: other }),
      /ConfigError: .*holds a proxy of other weights/,
    );
  });

  test('an empty holdout or one of prompts alone makes none, and leaves no folder', async () => {
    const nothing = file('nothing');
    const empty = write('empty.jsonl', []);
    await assert.rejects(
      make(proxyLocation, nothing, { holdout: empty }),
      /DataError: .*empty\.jsonl: there are no rows/,
    );
    const prompts = write('prompts.jsonl', [{ id: 1, tokens: [1, 2], responseStart: 2 }]);
    await assert.rejects(make(proxyLocation, nothing, { holdout: prompts }), /DataError: None of the 1 rows has/);
    assert.throws(() => readFileSync(nothing), /ENOENT/);
  });
});

/** A model with the tokenizer of `qwen2.5-padded` (100 tokens) and `vocabSize` rows in its embedding. */
async function paddedModel(name: string, vocabSize: number): Promise<string> {
  const source = goldenPath('families/qwen2.5-padded');
  const opened = await open(source);
  const { parameters, config } = opened.model;
  const target = file(name);
  mkdirSync(target);
  const resized = (values: Float32Array, width: number) =>
    Float32Array.from({ length: vocabSize * width }, (_, index) => values[index] ?? 0.5);
  const tensors = [...parameters].map(([tensor, { shape, data }]) => {
    const isVocabulary = shape.length === 2 && shape[0] === config.vocabSize;
    return isVocabulary
      ? { name: tensor, shape: [vocabSize, shape[1]], values: resized(data, shape[1]) }
      : { name: tensor, shape, values: data };
  });
  const files = Object.fromEntries(
    ['tokenizer.json', 'tokenizer_config.json'].map((each) => [each, readFileSync(join(source, each))]),
  );
  await writeCheckpoint(target, { config: { ...config, vocabSize }, tensors, files }, { overwrite: true });
  opened.dispose();
  return target;
}

describe('teacher and proxy', () => {
  const words = write('words.jsonl', [
    { id: 'a', prompt: 'w5 w9 w20', response: 'w30 w31 w99' },
    { id: 'b', tokens: [7, 8, 9, 10], responseStart: 1 },
  ]);

  test('may have differently padded embeddings: rows that only one has are not tilted, and none without a token is sampled', async () => {
    const wide = await open(goldenPath('families/qwen2.5-padded'));
    const narrowLocation = await paddedModel('narrow', 104);
    const narrow = await open(narrowLocation);
    const distribution = { temperature: 1, lambda: 0.3 };
    for (const [sampled, location, name] of [
      [wide, narrowLocation, 'narrow-proxy'],
      [narrow, wide.checkpoint.location, 'wide-proxy'],
    ] as const) {
      await make(location, file(name), { holdout: words });
      const opened = await openProxy(file(name), sampled);
      const score = async (lambda: number) => {
        const output = file(`${name}-${lambda}.jsonl`);
        const deltas = { proxy: opened, estimator: 'central' as const, distribution: { ...distribution, lambda } };
        await scoreRows(sampled, { input: words, output, deltas });
        return read(output);
      };
      const [plain, tilted] = [await score(0), await score(0.3)];
      for (const [index, { probabilities, delta }] of tilted.entries()) {
        assert.equal(probabilities.length, sampled.model.config.vocabSize);
        assert.ok(probabilities.slice(100).every((value: number) => value === 0));
        assert.ok(Math.abs(probabilities.reduce((sum: number, value: number) => sum + value, 0) - 1) < 1e-12);
        assert.ok(delta.slice(1).every((value: number) => Number.isFinite(value) && value !== 0));
        assert.notDeepEqual(probabilities, plain[index].probabilities);
      }
      opened.dispose();
    }
    wide.dispose();
    narrow.dispose();
  });

  test('of different tokenizers are refused, naming the first difference; other weights and places too', async () => {
    const location = goldenPath('families/qwen2.5-padded');
    const other = file('renamed');
    cpSync(location, other, { recursive: true });
    const tokenizer = readFileSync(join(location, 'tokenizer.json'), 'utf8');
    writeFileSync(join(other, 'tokenizer.json'), tokenizer.replaceAll('"w42"', '"forty-two"'));
    const renamed = await open(other);
    await make(location, file('words-proxy'), { holdout: words });
    await assert.rejects(
      openProxy(file('words-proxy'), renamed),
      /ConfigError: The teacher and the proxy must have the same tokenizer: id 42 is "forty-two" .* and "w42"/,
    );
    await assert.rejects(openProxy(file('words-proxy'), teacher), /ConfigError: .*64 rows in its embedding and .* 128/);
    await assert.rejects(openProxy(folder, teacher, { proxyModel: file('gone') }), /ModelLoadError: .*gone/);
    const llama = goldenPath('families/llama2');
    await assert.rejects(
      openProxy(folder, teacher, { proxyModel: llama }),
      /DataError: .*a model of another configuration/,
    );
    const touched = file('touched');
    cpSync(proxyLocation, touched, { recursive: true });
    const weights = readFileSync(join(touched, 'model.safetensors'));
    weights[weights.length - 4] ^= 1;
    writeFileSync(join(touched, 'model.safetensors'), weights);
    await assert.rejects(openProxy(folder, teacher, { proxyModel: touched }), /DataError: .*made with other weights/);
    renamed.dispose();
  });

  test('of other special tokens are accepted where that is asked for: Δ is 0 there, and as ever elsewhere', async () => {
    const location = goldenPath('families/qwen2.5-padded');
    const other = file('other-specials');
    cpSync(location, other, { recursive: true });
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
      const text = readFileSync(join(other, name), 'utf8');
      writeFileSync(join(other, name), text.replaceAll('"<s>"', '"<begin>"').replaceAll('"</s>"', '"<end>"'));
    }
    await make(other, file('other-specials-proxy'), { holdout: words });
    const wide = await open(location);
    await assert.rejects(
      openProxy(file('other-specials-proxy'), wide),
      /ConfigError: .*same tokenizer: id 1 is the special token "<s>".*"<begin>".*--proxy-tokenizer except-special; .* task\.models\.proxyTokenizer/,
    );
    const told: string[] = [];
    const opened = await openProxy(file('other-specials-proxy'), wide, {
      proxyTokenizer: 'except-special',
      log: (message) => void told.push(message),
    });
    assert.deepEqual(told, ['The special tokens of teacher and proxy differ at 2 ids (1, 2): Δ is 0 there.']);
    const same = await open(other);
    const unchanged = await openProxy(file('other-specials-proxy'), same, { proxyTokenizer: 'except-special' });
    assert.deepEqual(unchanged.forDefence.unsharedIds, []);
    const input = write('specials.jsonl', [{ id: 'a', tokens: [7, 2, 9, 1, 10, 30] }]);
    const [lambda, temperature, topK] = [0.3, 1, 100];
    for (const estimator of ['jvp', 'central'] as const) {
      const score = async (sampled: OpenedModel, proxy: typeof opened, strength: number) => {
        const output = file(`specials-${estimator}-${strength}-${proxy === opened}.jsonl`);
        const deltas = { proxy, estimator, distribution: { temperature, lambda: strength } };
        await scoreRows(sampled, { input, output, topK, deltas });
        return read(output)[0];
      };
      const [zeroed, whole] = [await score(wide, opened, lambda), await score(same, unchanged, lambda)];
      const isUnshared = (id: number) => id === 1 || id === 2;
      const deltaOf = (row: Row, id: number) => row.deltaTop.at(-1).find(([each]: [number]) => each === id)?.[1];
      zeroed.tokens.slice(1).forEach((id: number, index: number) => {
        assert.equal(zeroed.delta[index + 1] + 0, isUnshared(id) ? 0 : whole.delta[index + 1]);
      });
      assert.ok(whole.delta[1] !== 0 && whole.delta[3] !== 0);
      for (const id of [3, 30, 99]) {
        assert.ok(deltaOf(zeroed, id) === undefined || deltaOf(zeroed, id) === deltaOf(whole, id));
      }
      // In the distribution too: the odds of an unshared token against the untilted distribution are those of Δ = 0.
      const plain = (await score(wide, opened, 0)).probabilities;
      const gain = (row: Row, id: number) => Math.log(row.probabilities[id] / plain[id]);
      assert.ok(Math.abs(gain(zeroed, 1) - gain(zeroed, 2)) < 1e-9);
      assert.ok(Math.abs(gain(whole, 1) - gain(whole, 2)) > 1e-6);
      const shift = gain(zeroed, 30) - gain(zeroed, 1);
      assert.ok(Math.abs(shift - (gain(whole, 30) - gain(whole, 40) + gain(zeroed, 40) - gain(zeroed, 1))) < 1e-6);
    }
    const mixed = file('mixed');
    cpSync(other, mixed, { recursive: true });
    const ordinary = readFileSync(join(mixed, 'tokenizer.json'), 'utf8').replaceAll('"w42"', '"forty-two"');
    writeFileSync(join(mixed, 'tokenizer.json'), ordinary);
    const renamed = await open(mixed);
    const proxy = file('other-specials-proxy');
    await assert.rejects(openProxy(proxy, renamed), (error: Error) => !/except-special/.test(error.message));
    await assert.rejects(
      openProxy(proxy, renamed, { proxyTokenizer: 'except-special' }),
      /ConfigError: .*id 42 is "forty-two".*"w42".*Choose a proxy of the teacher's family\.$/,
    );
    const longer = file('longer');
    cpSync(location, longer, { recursive: true });
    const tokenizerFile = JSON.parse(readFileSync(join(longer, 'tokenizer.json'), 'utf8'));
    tokenizerFile.added_tokens.push({ ...tokenizerFile.added_tokens[0], id: 110, content: '<think>', special: false });
    writeFileSync(join(longer, 'tokenizer.json'), JSON.stringify(tokenizerFile));
    const thinking = await open(longer);
    const short = await paddedModel('short', 104);
    await make(short, file('short-proxy'), { holdout: words });
    await assert.rejects(
      openProxy(file('short-proxy'), thinking, { proxyTokenizer: 'except-special' }),
      /ConfigError: .*id 110 is "<think>" in .*longer, but the embedding of .*short has 104 rows/,
    );
    for (const each of [opened, unchanged, wide, same, renamed, thinking]) each.dispose();
  });

  test('may be one checkpoint, which is then in memory once', async () => {
    const model = await open(proxyLocation);
    const before = runtime.ownedBytes;
    const opened = await openProxy(folder, model);
    assert.equal(opened.model, model.model);
    assert.equal(runtime.ownedBytes, before);
    opened.dispose();
    assert.doesNotThrow(() => model.model.parameters.get('model.norm.weight')!.data);
    model.dispose();
  });
});
