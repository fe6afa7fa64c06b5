import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countRules, numbersIn } from './rules.js';

test('each rule answers what it says, and questions without its numbers count as wrong', () => {
  const questions = [
    { question: 'Ann has 8 eggs, 1,000 more and .5', answer: '1008.5' },
    { question: '12 birds, 3 fly away', answer: '9' },
    { question: '3 boys, 12 girls: how many more girls?', answer: '9' },
    { question: '4 packs of 5', answer: '20' },
    { question: '20 sweets for 8 children', answer: '2.5' },
    { question: 'How many are seven?', answer: '7' },
  ];
  const counts = Object.fromEntries(countRules(questions).map(({ name, correct }) => [name, correct]));
  assert.deepEqual(counts, {
    'sum of the numbers': 1,
    'first minus second': 1,
    'largest minus smallest': 2,
    'product of the first two': 1,
    'first divided by second': 1,
  });
  assert.ok(countRules(questions).every(({ total }) => total === questions.length));
  assert.deepEqual(numbersIn('$ 2.50 and 3 , then 1,200.'), [2.5, 3, 1200]);
});

test('rules about numbers say nothing of other answers', () => {
  assert.deepEqual(countRules([{ question: '2 or 3?', answer: 'B' }]), []);
  assert.deepEqual(countRules([]), []);
});
