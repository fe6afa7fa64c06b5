import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeChat } from './chat.js';
import { type EncodedExample, encodeExample } from './example.js';
import { openTokenizer } from './open.js';
import { chatTokenizer, goldenChats, smallTokenizer } from './tokenizer.fixture.js';
import type { Tokenizer } from './types.js';

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const now = new Date('2024-07-06T05:04:03Z');

const responseText = (tokenizer: Tokenizer, { tokens, responseStart }: EncodedExample) =>
  tokenizer.decode(tokens.slice(responseStart));

for (const name of Object.keys(goldenChats)) {
  test(`${name}: the ids before the response are those of the prompt, the last id ends the turn`, () => {
    const tokenizer = chatTokenizer(goldenChats[name]);
    const content = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom('', '\n', ' x ', '<think>\na\n</think>\n\nb', '漢👍🏽'),
    );
    fc.assert(
      fc.property(content, content, (question, answer) => {
        const messages = [user(question), assistant(answer)];
        const example = encodeExample(tokenizer, { messages }, { now });
        const prompt = encodeChat(tokenizer, messages.slice(0, 1), { addGenerationPrompt: true, now });
        assert.deepEqual(example.tokens.slice(0, example.responseStart), prompt);
        assert.equal(example.tokens.at(-1), tokenizer.eosTokenIds[0]);
        assert.deepEqual(encodeExample(tokenizer, { prompt: question, response: answer }, { now }), example);
        assert.deepEqual(encodeExample(tokenizer, { prompt: question }, { now }), {
          tokens: prompt,
          responseStart: prompt.length,
        });
      }),
      { numRuns: 60 },
    );
  });
}

test('the response is what the template writes after the opened turn', () => {
  const rows: [name: string, answer: string, expected: string][] = [
    ['smollm2', 'It is 4.', 'It is 4.<|im_end|>'],
    ['qwen3', 'It is 4.', '<think>\n\n</think>\n\nIt is 4.<|im_end|>'],
    ['qwen3', '<think>\nTwo.\n</think>\n\nIt is 4.', '<think>\nTwo.\n</think>\n\nIt is 4.<|im_end|>'],
    ['dated', 'It is 4.', 'It is 4.<|eot_id|>'],
    // The prompt opens the thought, and the template drops it from finished turns: the content itself is the response.
    ['thinking', '<think>\nTwo.\n</think>\n\nIt is 4.', 'Two.\n</think>\n\nIt is 4.</s>'],
    ['thinking', 'Two.\n</think>\n\nIt is 4.', 'Two.\n</think>\n\nIt is 4.</s>'],
  ];
  for (const [name, answer, expected] of rows) {
    const tokenizer = chatTokenizer(goldenChats[name]);
    const example = encodeExample(tokenizer, { messages: [user('2+2?'), assistant(answer)] }, { now });
    assert.equal(responseText(tokenizer, example), expected);
  }
});

test('of several turns only the last answer is the response', () => {
  for (const name of Object.keys(goldenChats)) {
    const tokenizer = chatTokenizer(goldenChats[name]);
    const messages = [user('a'), assistant('first'), user('b'), assistant('second')];
    const example = encodeExample(tokenizer, { messages }, { now });
    assert.match(responseText(tokenizer, example), /second/);
    assert.doesNotMatch(responseText(tokenizer, example), /first/);
  }
});

test('where the template writes earlier turns anew, the prompt still is what the model sees', () => {
  const tokenizer = chatTokenizer(goldenChats.qwen3);
  const messages = [user('a'), assistant('first'), assistant('second')];
  const example = encodeExample(tokenizer, { messages });
  const prompt = encodeChat(tokenizer, messages.slice(0, 2), { addGenerationPrompt: true });
  assert.deepEqual(example.tokens.slice(0, example.responseStart), prompt);
  assert.equal(responseText(tokenizer, example), 'second<|im_end|>');
});

test('messages that end with a question are a prompt', () => {
  const tokenizer = chatTokenizer(goldenChats.smollm2);
  const { tokens, responseStart } = encodeExample(tokenizer, { messages: [user('a'), assistant('b'), user('c')] });
  assert.equal(responseStart, tokens.length);
  assert.match(tokenizer.decode(tokens), /assistant\n$/);
});

test('plain text is bos, prompt, response, eos with an exact boundary', () => {
  for (const name of ['llama3', 'llama-legacy', 'metaspace-first', 'smollm', 'words']) {
    const tokenizer = smallTokenizer(name);
    for (const [prompt, response] of [
      ['One day, a', ' boy was happy'],
      ['One da', 'y, a boy'],
      ['', 'a'],
      ['the ', ''],
    ]) {
      const example = encodeExample(tokenizer, { prompt, response });
      const alone = encodeExample(tokenizer, { prompt });
      assert.deepEqual(alone.tokens, tokenizer.encode(prompt));
      assert.deepEqual(example.tokens.slice(0, example.responseStart), alone.tokens);
      assert.equal(example.tokens.at(-1), tokenizer.eosTokenIds[0]);
      if (name === 'words') continue;
      const body = tokenizer.decode(example.tokens.slice(0, -1), { skipSpecialTokens: true });
      assert.equal(body, prompt + response);
    }
  }
});

test('whole words stay whole at the boundary', () => {
  const tokenizer = openTokenizer({ kind: 'words', words: ['.', 'a', 'b', 'ab'], eosToken: '.' });
  assert.deepEqual(encodeExample(tokenizer, { prompt: 'a', response: 'b' }), { tokens: [1, 2, 0], responseStart: 1 });
});

test('chat: never goes on from the text itself', () => {
  const tokenizer = chatTokenizer(goldenChats.smollm2);
  const example = encodeExample(tokenizer, { prompt: 'a', response: 'b' }, { chat: 'never' });
  assert.equal(tokenizer.decode(example.tokens), '<|im_start|>ab<|im_end|>');
  assert.equal(example.responseStart, 2);
  assert.throws(() => encodeExample(tokenizer, { messages: [user('a')] }, { chat: 'never' }), { name: 'ConfigError' });
});

test('rows that are none are refused', () => {
  const tokenizer = chatTokenizer(goldenChats.smollm2);
  for (const row of [
    {},
    { prompt: 7 },
    { prompt: 'a', response: 7 },
    { messages: 'a' },
    { messages: [] },
    { messages: [assistant('a')] },
  ]) {
    assert.throws(() => encodeExample(tokenizer, row as never), { name: 'DataError' }, JSON.stringify(row));
  }
});
