import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { familyFolder, readRows, run, runJson, temporaryFolder, writeRows } from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);
const model = familyFolder('qwen2.5-padded');
const count = ({ correct, total }: { correct: number; total: number }) => `${correct}/${total}`;

const data = writeRows(file('questions.jsonl'), [
  { id: 'a', question: 'w3 w4', answer: '#### 5' },
  { id: 'b', question: 'w5 w6', answer: '#### 7/2' },
  { id: 'c', question: 'w7 w8 w9', answer: '#### 7' },
]);

test('responses none of which can be read as an answer are told, not counted as wrong', async () => {
  const traces = writeRows(file('unread.jsonl'), [
    { id: 'a', text: 'I do not know.', finish: 'stop' },
    { id: 'b', text: '', finish: 'length' },
  ]);
  const args = ['evaluate', '--task', 'gsm8k', '--data', data, '--traces', traces, '--output', file('unread')];
  const { code, stdout, stderr } = await run(args);
  assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
  assert.match(stderr, /unread\.jsonl: none of the 2 responses could be read as an answer/);
  assert.deepEqual(readdirSync(file('unread')), []);
});

test('stored traces: boxed and fallback answers, finished and truncated responses are counted apart', async () => {
  const traces = writeRows(file('stored.jsonl'), [
    { id: 'a', text: 'It is \\boxed{5}.', finish: 'stop' },
    { id: 'b', text: 'so the answer is 3.5.', finish: 'stop' },
    { id: 'c', text: 'so we have \\boxed{7} and then 8', finish: 'length' },
    { id: 'a', sample: 1, text: 'It is \\boxed{6', finish: 'length' },
  ]);
  const args = ['evaluate', '--task', 'gsm8k', '--data', data, '--traces', traces, '--output', file('stored')];
  const { boxed, fallback, forced, ...counts } = await runJson(args);
  assert.deepEqual(counts, {
    ...{ output: file('stored'), numQuestions: 3, numResponses: 4, numBoxed: 2, numTimeouts: 0 },
    precision: null,
  });
  assert.deepEqual([boxed.all, boxed.finished, boxed.truncated].map(count), ['2/4', '1/2', '1/2']);
  assert.deepEqual([fallback.all, fallback.finished, fallback.truncated].map(count), ['3/4', '2/2', '1/2']);
  assert.equal(forced, null);
  assert.deepEqual(
    readRows(join(file('stored'), 'graded.jsonl')).map(({ id, sample, rule, equal }) => [id, sample, rule, equal]),
    [
      ['a', 0, 'boxed', true],
      ['b', 0, 'fallback', true],
      ['c', 0, 'boxed', true],
      ['a', 1, 'fallback', false],
    ],
  );
});

test('a model answers, its answers are forced after its own response, and a torn run ends with the same result', async () => {
  const output = file('asked');
  const args = ['evaluate', '--task', 'gsm8k', '--data', data, '--model', model, '--output', output, '--force-answers'];
  const command = [...args, '--max-tokens', '6', '--samples', '2', '--temperature', '1'];
  const { forced, numResponses } = await runJson(command);
  assert.deepEqual([numResponses, forced.all.total], [6, 6]);

  const traces = readRows(join(output, 'traces.jsonl'));
  const continued = readRows(join(output, 'forced.jsonl'));
  const unknown = [0, 0, 0]; // "**Final Answer**" and "\[\boxed{" are no words of this tokenizer
  for (const { id, sample, promptTokens, tokens, finish } of traces) {
    const second = continued.find((row) => row.id === `${id}#${sample}`);
    const response = finish === 'stop' ? tokens.slice(0, -1) : tokens;
    assert.deepEqual(second.promptTokens, [...promptTokens, ...response, ...unknown]);
    assert.ok(second.tokens.length <= 32 && second.sampler.temperature === 0);
  }

  const result = readFileSync(join(output, 'evaluation.json'), 'utf8');
  const graded = readFileSync(join(output, 'graded.jsonl'), 'utf8');
  for (const name of ['traces.jsonl', 'forced.jsonl']) {
    const path = join(output, name);
    truncateSync(path, readFileSync(path).length - 40);
  }
  await runJson(command);
  assert.equal(readFileSync(join(output, 'evaluation.json'), 'utf8'), result);
  const sorted = (text: string) => text.split('\n').sort();
  assert.deepEqual(sorted(readFileSync(join(output, 'graded.jsonl'), 'utf8')), sorted(graded));

  const other = await run([...args, '--template', 'plain']);
  assert.equal(other.code, 2);
  assert.match(other.stderr, /prompts\.jsonl belongs to another evaluation/);
});

test('what cannot be evaluated is one message and exit code 2', async () => {
  const strangers = writeRows(file('strangers.jsonl'), [{ id: 'x', text: '5', finish: 'stop' }]);
  const bare = writeRows(file('bare.jsonl'), [{ id: 'a', text: '5', finish: 'stop' }]);
  const twice = writeRows(file('twice.jsonl'), [
    { id: 1, question: 'q', answer: '1' },
    { id: 1, question: 'r', answer: '2' },
  ]);
  const base = ['evaluate', '--output', file('never'), '--data'];
  const refused: [string[], RegExp][] = [
    [[...base, data], /Give --model, --traces, or both/],
    [[...base, data, '--traces', bare, '--force-answers'], /--force-answers needs --model/],
    [[...base, data, '--traces', strangers], /strangers\.jsonl:1: no question has the id "x"/],
    [[...base, data, '--traces', bare, '--model', model, '--force-answers'], /trace of 'a' has no token ids/],
    [[...base, twice, '--traces', bare], /Two questions share an id/],
    [[...base, data, '--task', 'svamp', '--traces', bare], /questions\.jsonl:1: the field "Body" is missing/],
  ];
  await Promise.all(
    refused.map(async ([args, message]) => {
      const { code, stderr } = await run(args);
      assert.match(stderr, message);
      assert.equal(code, 2);
      assert.doesNotMatch(stderr, /\n\s+at /);
    }),
  );
});
