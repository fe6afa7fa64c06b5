import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extractAnswer } from './extract.js';

test('the last box counts, with balanced braces inside it', () => {
  const text = 'First \\boxed{1}. After much more work we find \\[x = \\boxed{\\frac{1}{\\sqrt{2}}}\\] in the end.';
  assert.deepEqual(extractAnswer(text), { rule: 'boxed', answer: '\\frac{1}{\\sqrt{2}}' });
  assert.equal(extractAnswer('\\boxed{\\{1,2\\}}').answer, '\\{1,2\\}');
  assert.equal(extractAnswer('\\fbox{7} is it').answer, '7');
  assert.equal(extractAnswer('\\boxed 7, so').answer, '7');
});

test('boxes close together are one answer, far apart only the last is', () => {
  assert.equal(extractAnswer('\\boxed{1} and \\boxed{2}').answer, '1,2');
  assert.equal(extractAnswer('\\boxed{1} is what the first part gives, and the second \\boxed{2}').answer, '2');
  assert.equal(extractAnswer('\\boxed{3}, \\boxed{3}').answer, '3');
});

test('a box that was cut off does not hide one before it, and an empty one is none', () => {
  assert.equal(extractAnswer('\\boxed{4} so the final \\boxed{\\frac{1').answer, '4');
  assert.deepEqual(extractAnswer('it is \\boxed{}'), { rule: 'none', answer: '' });
});

test('without a box: ####, then "answer is", then "A:", then the last formula or number', () => {
  const answerOf = (text: string) => {
    const { rule, answer } = extractAnswer(text);
    assert.equal(rule, 'fallback', text);
    return answer;
  };
  assert.equal(answerOf('5 + 5 = 10\n#### 10'), '10');
  assert.equal(answerOf('The answer is 3. No: the answer is 4. I hope it is correct.'), '4');
  assert.equal(answerOf('Final Answer: The final answer is $\\frac{1}{2}$. I hope it is correct.'), '\\frac{1}{2}');
  assert.equal(answerOf('**Answer:** 12'), '12');

  assert.equal(answerOf('The answer is 10 apples and I am sure.'), '10');
  assert.equal(answerOf('She has 3.\nA: 1,200'), '1,200');
  assert.equal(answerOf('so $x=3$ and then $y = 4$ which ends it'), 'y = 4');
  assert.equal(answerOf('there are 12 of them and 13.5 left.'), '13.5');
  assert.equal(answerOf('it costs $1,250.50 now'), '$1,250.50');
  assert.equal(answerOf('she gave away 1/2 of it'), '1/2');
});

test('a text without anything like an answer gives none', () => {
  assert.deepEqual(extractAnswer('I cannot say.'), { rule: 'none', answer: '' });
});

test('long texts are searched in time that grows with their length', () => {
  const startMs = performance.now();
  for (const part of ['A\n', ' \n', '\\boxed{', '\\(', '\\[', 'answer ', '$', '1 / ', '####'])
    extractAnswer(part.repeat(20_000));
  assert.ok(performance.now() - startMs < 4000, `${performance.now() - startMs} ms`);
});
