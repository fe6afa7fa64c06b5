import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeChat, renderChat } from './chat.js';
import { openTokenizer } from './open.js';
import { chatTokenizer, goldenChats } from './tokenizer.fixture.js';

const NOW = new Date('2024-07-06T05:04:03Z');

for (const [name, golden] of Object.entries(goldenChats)) {
  test(`${name}: conversations read as transformers renders them`, () => {
    const tokenizer = chatTokenizer(golden);
    for (const [messages, addGenerationPrompt, expected] of golden.cases) {
      const render = () => renderChat(tokenizer, messages, { addGenerationPrompt, now: NOW });
      if (typeof expected === 'string') assert.equal(render(), expected);
      else
        assert.throws(render, (error: Error) => error.name === 'DataError' && error.message.includes(expected.error));
    }
  });
}

test('bos is not doubled', () => {
  const tokenizer = chatTokenizer(goldenChats.dated);
  const ids = encodeChat(tokenizer, [{ role: 'user', content: 'hi' }], { now: NOW });
  assert.equal(ids[0], tokenizer.bosTokenId);
  assert.equal(ids.filter((id) => id === tokenizer.bosTokenId).length, 1);
  assert.equal(tokenizer.encode('hi')[0], tokenizer.bosTokenId);
});

test('a conversation that cannot be rendered says why', () => {
  const tokenizer = chatTokenizer(goldenChats.smollm2);
  assert.throws(() => renderChat(tokenizer, []), { name: 'DataError', message: /empty/ });
  assert.throws(() => renderChat(tokenizer, [{ role: 'user' } as never]), {
    name: 'DataError',
    message: /messages\[0\]\.content/,
  });
  const broken = chatTokenizer({ ...goldenChats.smollm2, template: '{% for x in %}' });
  assert.throws(() => renderChat(broken, [{ role: 'user', content: '' }]), {
    name: 'DataError',
    message: /chat template: /,
  });
  const none = openTokenizer({ kind: 'words', words: ['a'] });
  assert.throws(() => renderChat(none, [{ role: 'user', content: 'a' }]), { name: 'ConfigError', message: /none/ });
});

test('a template cannot ask for a list of any size', () => {
  const hostile = chatTokenizer({ ...goldenChats.smollm2, template: '{% for i in range(4000000000) %}{% endfor %}' });
  assert.throws(() => renderChat(hostile, [{ role: 'user', content: '' }]), {
    name: 'DataError',
    message: /range\(\)/,
  });
});

test('dates, ranges and undefined names work as templates expect', () => {
  const render = (template: string) =>
    renderChat(chatTokenizer({ ...goldenChats.smollm2, template }), [{ role: 'user', content: '' }], { now: NOW });
  assert.equal(
    render('{{ strftime_now("%A %a %d %B %b %Y %y %m %H:%M:%S %% %q") }}'),
    'Saturday Sat 06 July Jul 2024 24 07 05:04:03 % %q',
  );
  assert.equal(
    render('{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}'),
    '012531',
  );
  assert.equal(render('{% if tools is defined or documents %}yes{% else %}no{% endif %}{{ pad_token }}'), 'no');
});
