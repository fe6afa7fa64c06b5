import assert from 'node:assert/strict';
import { test } from 'node:test';
import { templatesOf } from './templates.js';

test('questions that differ in names, numbers and he or she have one template', () => {
  const templates = templatesOf([
    'Bryan has 56 books in each of his 9 shelves . How many has he ?',
    'Mary Ann has 3 books in each of her twelve shelves. how many has she?',
    'In May , Tom had 1,200.5 books and sold two hundred . He is sad .',
    'in June, Sue had 7 books and sold 3. She is sad.',
  ]);
  assert.equal(templates[0], '@ has # books in each of he # shelves how many has he');
  assert.equal(templates[1], templates[0]);
  assert.equal(templates[3], templates[2]);
});

test('other words make another template, a capital at the start of a sentence does not', () => {
  const [first, second, third] = templatesOf([
    'There are 4 walnut trees. How many walnut trees are there?',
    'there are 9 walnut trees . how many walnut trees are there ?',
    'There are 9 dogwood trees. How many dogwood trees are there?',
  ]);
  assert.equal(second, first);
  assert.notEqual(third, first);
});
