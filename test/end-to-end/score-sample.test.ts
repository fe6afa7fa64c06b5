import assert from 'node:assert/strict';
import { appendFileSync, cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  expectedOf,
  familyFolder,
  interrupt,
  type Row,
  readRows,
  run,
  runJson,
  start,
  temporaryFolder,
  writeRows,
} from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);
const GREEDY = ['--temperature', '0'];
/** transformers in float32 differs from float64 by up to 1e-5 on these checkpoints; the issue asks for 1e-4. */
const TOLERANCE_NATS = 1e-4;

const qwen = familyFolder('qwen3');
const words = familyFolder('qwen2.5-padded');
const prompts = writeRows(
  file('prompts.jsonl'),
  expectedOf('qwen3').greedy.map(({ prompt }, index) => ({ id: `p${index}`, tokens: prompt })),
);

function assertClose(actual: readonly (number | null)[], expected: readonly (number | null)[]): void {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, index) => {
    const wanted = expected[index];
    if (wanted === null) assert.equal(value, null);
    else assert.ok(Math.abs(value! - wanted) < TOLERANCE_NATS, `${index}: ${value} for ${wanted}`);
  });
}

/** All families are compared in test/parity; here are those that differ in their files. */
const COMPARED = ['deepseek-r1-distill', 'llama3.1', 'qwen2.5-padded', 'smollm2'];

test('scores, their likeliest tokens and greedy responses are those of transformers', async () => {
  for (const name of COMPARED) {
    const { rows, greedy } = expectedOf(name);
    const [input, scores, questions, traces] = ['rows', 'scores', 'questions', 'traces'].map((what) =>
      file(`${name}-${what}.jsonl`),
    );
    writeRows(
      input,
      rows.map(({ id, tokens }) => ({ id, tokens })),
    );
    writeRows(
      questions,
      greedy.map(({ prompt }, index) => ({ id: index, tokens: prompt })),
    );
    const model = ['--model', familyFolder(name), '--precision', 'float32'];
    const [summary] = await Promise.all([
      runJson(['score', ...model, '--input', input, '--output', scores, '--top-k', '5']),
      runJson(['sample', ...model, '--input', questions, '--output', traces, '--max-tokens', '40', ...GREEDY]),
    ]);
    assert.equal(summary.numRows, rows.length);
    const scored = readRows(scores);
    assert.deepEqual(
      scored.map(({ id, tokens }) => ({ id, tokens })),
      readRows(input),
    );
    scored.forEach(({ logprobs, top, ...rest }: Row, index) => {
      assert.deepEqual(Object.keys(rest), ['id', 'tokens', 'precision']);
      assertClose(logprobs, rows[index].logprobs);
      assert.equal(top[0], null);
      assert.ok(top.slice(1).every((list: Row[]) => list.length === 5));
      for (const { position, top: likeliest } of rows[index].topAt) {
        assertClose(
          top[position].map(([, logprob]: [number, number]) => logprob),
          likeliest.map(([, logprob]) => logprob),
        ); // prettier-ignore
      }
    });
    const byId = new Map(readRows(traces).map((trace) => [trace.id, trace]));
    greedy.forEach(({ prompt, tokens }, index) => {
      const trace = byId.get(index);
      assert.deepEqual({ prompt: trace.promptTokens, tokens: trace.tokens }, { prompt, tokens }, `${name} ${index}`);
    });
  }
});

test('a trace has the documented keys, and scoring it gives its own log-probabilities', async () => {
  const traces = file('documented.jsonl');
  const scores = file('documented-scores.jsonl');
  const settings = ['--temperature', '0.8', '--top-k', '20', '--max-tokens', '12', '--seed', '7', '--samples', '3'];
  await runJson(['sample', '--model', qwen, '--input', prompts, '--output', traces, ...settings]);
  await runJson(['score', '--model', qwen, '--input', traces, '--output', scores]);
  const rows = readRows(traces);
  assert.equal(rows.length, 9);
  assert.deepEqual(new Set(rows.map(({ id, sample }) => `${id} ${sample}`)).size, 9);
  const scored = readRows(scores);
  rows.forEach((trace, index) => {
    const { id, sample, promptTokens, tokens, text, finish, sampler, precision, logprobs, seed, ...rest } = trace;
    assert.deepEqual(rest, {});
    assert.ok(['p0', 'p1', 'p2'].includes(id) && [0, 1, 2].includes(sample));
    assert.equal(text, '');
    assert.ok(finish === 'stop' ? tokens.at(-1) === 2 : finish === 'length' && tokens.length === 12);
    assert.deepEqual(sampler, { temperature: 0.8, topK: 20, topP: 1, minP: 0, repetitionPenalty: 1 });
    assert.equal(seed, 7);
    assert.equal(logprobs.length, tokens.length);
    assert.deepEqual(scored[index].tokens, [...promptTokens, ...tokens]);
    const again = scored[index].logprobs.slice(promptTokens.length);
    // Both commands compute in the same precision of their own accord; in bfloat16 the bits are the same.
    assert.equal(scored[index].precision, precision);
    if (precision === 'bfloat16') assert.deepEqual(logprobs, again);
    else assertClose(logprobs, again);
  });
});

/** Tokens and text of a file of traces, by id. Log-probabilities depend on the batch in their last digits. */
const tracesOf = (path: string): string[] =>
  readRows(path)
    .map(({ id, sample, tokens, text, finish }) => JSON.stringify({ id, sample, tokens, text, finish }))
    .sort();

test('an output is continued in its own precision alone', async () => {
  const output = file('precision.jsonl');
  await runJson(['sample', '--model', qwen, '--input', prompts, '--output', output, '--max-tokens', '2']);
  // As written by a machine that computed in the other one.
  const other = readRows(output).map(({ precision, ...row }) => ({
    ...row,
    precision: precision === 'float32' ? 'bfloat16' : 'float32',
  }));
  writeRows(output, other);
  const { code, stderr } = await run(['sample', '--model', qwen, '--input', prompts, '--output', output]);
  assert.equal(code, 2);
  assert.match(stderr, /another run: it was made in (float32|bfloat16), now in (?!\1)\w+ \(precision\)/);
});

test('the same seed gives the same traces at any batch size, another seed others', async () => {
  const sample = async (output: string, ...more: string[]) => {
    const input = ['--input', prompts, '--output', file(output), '--samples', '4', '--max-tokens', '10'];
    await runJson(['sample', '--model', qwen, '--threads', '1', ...input, ...more]);
    return readRows(file(output))
      .sort((a, b) => (`${a.id}${a.sample}` < `${b.id}${b.sample}` ? -1 : 1))
      .map(({ tokens }) => tokens);
  };
  const [first, again, other] = await Promise.all([
    sample('seed-1.jsonl', '--seed', '1'),
    sample('seed-1-batch-1.jsonl', '--seed', '1', '--batch', '1'),
    sample('seed-2.jsonl', '--seed', '2'),
  ]);
  assert.deepEqual(again, first);
  assert.notDeepEqual(other, first);
  assert.equal(new Set(first.map(String)).size, first.length, 'samples of one prompt differ');
});

test('sampling killed in the middle and run again gives the set of rows of an undisturbed run; a torn line is repaired', async () => {
  const many = writeRows(
    file('many.jsonl'),
    Array.from({ length: 60 }, (_, index) => ({ id: index, tokens: [(index % 60) + 3, 5] })),
  );
  const command = (output: string) => [
    ...['sample', '--model', qwen, '--input', many, '--output', output, '--max-tokens', '200'],
    ...['--threads', '1', '--batch', '4', '--seed', '3'],
  ];
  const [straight, killed] = [file('straight.jsonl'), file('killed.jsonl')];
  await runJson(command(straight));
  const numLines = () => (existsSync(killed) ? readFileSync(killed, 'utf8').split('\n').length - 1 : 0);
  await interrupt(start(command(killed)), 'SIGKILL', () => numLines() >= 5);
  const numKept = numLines();
  assert.ok(numKept >= 5 && numKept < 60, `${numKept} rows when it was killed`);
  appendFileSync(killed, '{"id":59,"promptTokens":[5');
  const { code, stderr } = await run(command(killed));
  assert.equal(code, 0, stderr);
  assert.match(stderr, new RegExp(`killed.jsonl holds ${numKept} of 60 traces already`));
  assert.match(
    stderr,
    new RegExp(`killed.jsonl:${numKept + 1}: the last line was cut off; its trace is sampled again`),
  );
  assert.deepEqual(tracesOf(killed), tracesOf(straight));

  const again = await runJson(command(killed));
  assert.equal(again.numTraces, 0);
  assert.deepEqual(tracesOf(killed), tracesOf(straight));
});

test('scoring stopped by Ctrl-C says how to continue, and continued equals an undisturbed run, in the order of the input', async () => {
  const long = writeRows(
    file('long.jsonl'),
    Array.from({ length: 300 }, (_, row) => ({
      id: row,
      tokens: Array.from({ length: 200 + (row % 50) }, (_unused, index) => (index * 7 + row) % 64),
    })),
  );
  const command = (output: string) => ['score', '--model', qwen, '--input', long, '--output', output, '--threads', '1'];
  const [straight, stopped] = [file('score-straight.jsonl'), file('score-stopped.jsonl')];
  await runJson(command(straight));
  const hasRows = () => existsSync(stopped) && readFileSync(stopped).length > 0;
  const { code, stderr } = await interrupt(start(command(stopped)), 'SIGINT', hasRows);
  assert.equal(code, 130, stderr);
  assert.match(
    stderr,
    /Stopped\. .*score-stopped\.jsonl keeps the rows that are scored; the same command does the rest\.\n$/,
  );
  const numKept = readRows(stopped).length;
  assert.ok(numKept > 0 && numKept < 300, `${numKept} rows`);
  appendFileSync(stopped, '{"id":');
  const rest = await run(command(stopped));
  assert.match(rest.stderr, /the last line was cut off; its row is scored again/);
  assert.equal(readRows(stopped).length, 300);
  const wanted = readRows(straight);
  readRows(stopped).forEach(({ id, logprobs }, index) => {
    assert.equal(id, wanted[index].id);
    assertClose(logprobs, wanted[index].logprobs);
  });
});

test('an output of other settings, rows or another model is refused and left as it is', async () => {
  const traces = file('kept.jsonl');
  const scores = file('kept-scores.jsonl');
  const other = writeRows(file('other.jsonl'), [{ id: 'p0', tokens: [9, 9, 9] }]);
  const sample = ['sample', '--model', qwen, '--input', prompts, '--output', traces, '--max-tokens', '5'];
  const score = ['score', '--model', qwen, '--input', prompts, '--output', scores, '--top-k', '2'];
  await runJson(sample);
  await runJson(score);
  const before = [readFileSync(traces, 'utf8'), readFileSync(scores, 'utf8')];
  const replace = (args: string[], flag: string, value: string) =>
    args.map((argument, index) => (args[index - 1] === flag ? value : argument));
  const cases: [string[], RegExp][] = [
    [
      [...sample, '--temperature', '0.5'],
      /kept\.jsonl:1: .*its sampler is .*"temperature":1,.* now .*"temperature":0\.5/,
    ],
    [[...sample, '--seed', '1'], /its seed is 0, now 1/],
    [replace(sample, '--max-tokens', '6'), /of 5 tokens, now 6 are asked for/],
    [replace(sample, '--max-tokens', '4'), /of 5 tokens, now 4 are asked for/],
    [replace(sample, '--input', other), /its prompt is another one|is not in the input/],
    [replace(sample, '--model', familyFolder('qwen3-untied')), /another model wrote this file/],
    [replace(score, '--top-k', '3'), /top-k 2, now 3/],
    [replace(score, '--input', other), /scores of other rows/],
    [replace(score, '--model', familyFolder('qwen3-untied')), /another model wrote this file/],
  ];
  await Promise.all(
    cases.map(async ([args, message]) => {
      const { code, stdout, stderr } = await run(args);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' }, stderr);
      assert.match(stderr, message);
      assert.match(stderr, /Name another output, or remove the file\.\n$/);
    }),
  );
  assert.deepEqual([readFileSync(traces, 'utf8'), readFileSync(scores, 'utf8')], before);
});

test('a prompt is answered on standard output as it is generated, and is the trace that a file would get', async () => {
  const prompt = ['sample', '--model', words, '--prompt', 'w5 w9 w20', '--max-tokens', '8', ...GREEDY];
  const input = writeRows(file('text.jsonl'), [{ id: 'x', prompt: 'w5 w9 w20' }]);
  const [plain, trace] = await Promise.all([
    run(prompt),
    runJson(prompt),
    runJson([
      'sample',
      '--model',
      words,
      '--input',
      input,
      '--output',
      file('text-traces.jsonl'),
      '--max-tokens',
      '8',
      ...GREEDY,
    ]),
  ]);
  assert.equal(plain.code, 0, plain.stderr);
  assert.equal(plain.stdout, `${trace.text}\n`);
  assert.match(trace.text, /^w\d+( w\d+)*$/);
  const [row] = readRows(file('text-traces.jsonl'));
  const { id: _id, sample: _sample, ...shared } = trace;
  assert.deepEqual(row, { id: 'x', ...shared });

  const stop = trace.text.split(' ')[2];
  const stopped = await runJson([...prompt, '--stop', stop]);
  assert.equal(stopped.finish, 'stop');
  assert.equal(stopped.text.trimEnd(), trace.text.slice(0, trace.text.indexOf(stop)).trimEnd());
  assert.deepEqual(stopped.tokens, trace.tokens.slice(0, stopped.tokens.length));
});

test('rows that no token names are never sampled', async () => {
  const output = file('padded.jsonl');
  const input = writeRows(file('padded-prompts.jsonl'), [{ id: 1, prompt: 'w5 w9' }]);
  const hot = ['--temperature', '1000', '--samples', '40', '--max-tokens', '10'];
  await runJson(['sample', '--model', words, '--input', input, '--output', output, ...hot]);
  const tokens = readRows(output).flatMap((trace) => trace.tokens);
  assert.ok(tokens.length > 200 && tokens.every((id) => id < 100), `${Math.max(...tokens)}`);
});

test('a chat template makes a prompt a message; messages, and a prompt with --chat never, give what they say', async () => {
  const chatty = file('chatty');
  cpSync(words, chatty, { recursive: true });
  writeFileSync(
    join(chatty, 'chat_template.jinja'),
    "{% for m in messages %}{{ '<s> ' + m.role.replace('user', 'w3').replace('assistant', 'w4') + ' ' + m.content + ' </s> ' }}{% endfor %}{% if add_generation_prompt %}{{ '<s> w4 ' }}{% endif %}",
  );
  const input = writeRows(file('chat.jsonl'), [
    { id: 'prompt', prompt: 'w50 w51' },
    { id: 'messages', messages: [{ role: 'user', content: 'w50 w51' }] },
    { id: 'answered', prompt: 'w50 w51', response: 'w60' },
  ]);
  const score = (...more: string[]) => runJson(['score', '--model', chatty, '--input', input, ...more]);
  await score('--output', file('chat-scores.jsonl'));
  const tokens = readRows(file('chat-scores.jsonl')).map((row) => row.tokens);
  assert.deepEqual(tokens, [
    [1, 3, 50, 51, 2, 1, 4],
    [1, 3, 50, 51, 2, 1, 4],
    [1, 3, 50, 51, 2, 1, 4, 60, 2],
  ]);

  writeFileSync(join(chatty, 'chat_template.jinja'), "w3 w{{ strftime_now('%d') }} {{ messages[0].content }}");
  const dated = (name: string, ...more: string[]) =>
    run(['sample', '--model', chatty, '--input', plain, '--output', file(name), '--max-tokens', '4', ...more]);
  const plain = writeRows(file('plain.jsonl'), [{ id: 'prompt', prompt: 'w50 w51' }]);
  await runJson(['score', '--model', chatty, '--input', plain, '--chat', 'never', '--output', file('never.jsonl')]);
  assert.deepEqual(readRows(file('never.jsonl'))[0].tokens, [50, 51]);

  const first = await dated('dated.jsonl', '--chat-date', '2024-07-26');
  assert.deepEqual(readRows(file('dated.jsonl'))[0].promptTokens, [3, 26, 50, 51], first.stderr);
  const [again, today, wrong] = await Promise.all([
    dated('dated.jsonl', '--chat-date', '2024-07-26'),
    dated('today.jsonl'),
    dated('wrong.jsonl', '--chat-date', '2024-07-32'),
  ]);
  assert.equal(again.code, 0, again.stderr);
  assert.match(today.stderr, /writes the date into prompts\. To continue on another day: chatDate \d{4}-\d\d-\d\d\./);
  assert.match(wrong.stderr, /chatDate is "2024-07-32"; expected a date such as/);
});
