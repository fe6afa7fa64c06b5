import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DataError } from '../../support/errors.js';
import { type Equation, isAnswer, parseEquation, solve } from './equation.js';
import { equationTrace } from './equation-trace.js';

const equations = fc.letrec<{ any: Equation }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    fc.integer({ min: 1, max: 999 }).map((value) => value / 4),
    fc.record(
      { operator: fc.constantFrom('+', '-', '*', '/'), left: tie('any'), right: tie('any') },
      { noNullPrototype: true },
    ),
  ),
})).any;

const infixOf = (equation: Equation): string =>
  typeof equation === 'number'
    ? `${equation}`
    : `( ${infixOf(equation.left)} ${equation.operator} ${infixOf(equation.right)} )`;
const prefixOf = (equation: Equation): string =>
  typeof equation === 'number'
    ? `${equation}`
    : `${equation.operator} ${prefixOf(equation.left)} ${prefixOf(equation.right)}`;

describe('an equation', () => {
  test('is read alike from either notation', () => {
    fc.assert(
      fc.property(equations, (equation) => {
        assert.deepEqual(parseEquation(infixOf(equation)), equation);
        assert.deepEqual(parseEquation(prefixOf(equation)), equation);
      }),
    );
  });

  test('binds and groups as JavaScript does where brackets are left out', () => {
    const step = fc.tuple(fc.constantFrom('+', '-', '*', '/'), fc.integer({ min: 1, max: 99 }));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99 }), fc.array(step, { maxLength: 6 }), (first, steps) => {
        const text = [first, ...steps.flat()].join(' ');
        assert.ok(Math.abs(solve(parseEquation(text)) - new Function(`return ${text}`)()) < 1e-6);
      }),
    );
  });

  test('has signs in prefix notation alone, and no right side', () => {
    assert.equal(solve(parseEquation('* * * -2 -15 4 -1')), -120);
    for (const text of ['', '8 -', '( 8 - 3', '8 3', '- 8', '- 8 3 2', '8 - 3 = 5', 'x + 1', '1.2.3']) {
      assert.throws(() => parseEquation(text), DataError, text);
    }
  });
});

describe('a solution', () => {
  test('has true steps in an order that can be worked, and ends with the value', () => {
    fc.assert(
      fc.property(equations, fc.string(), (equation, seed) => {
        fc.pre(Number.isFinite(solve(equation)) && Math.abs(solve(equation)) < 1e12);
        const trace = equationTrace(equation, seed);
        const steps = [...trace.matchAll(/(\S+) ([-+*/]) (\S+) = (\S+?)(?:\. |\.$)/g)];
        assert.equal(steps.length, infixOf(equation).split('(').length - 1);
        assert.match(trace, /\\boxed\{[^{}]+\}\.?$/);
        assert.ok(isAnswer(solve(equation), /\\boxed\{([^{}]+)\}/.exec(trace)![1]), trace);
      }),
    );
    const [, a, operator, b, value] = /(\d+) (\*) (\d+) = (\d+)/.exec(equationTrace(parseEquation('56 * 9'), 'q'))!;
    assert.deepEqual([operator, Number(a) * Number(b), Number(value)], ['*', 504, 504]);
  });

  test('is written in one way for a problem and in all ways over many', () => {
    const equation = parseEquation('- 9 + 3 4');
    const traces = Array.from({ length: 300 }, (_, index) => equationTrace(equation, `problem ${index}`));
    assert.equal(equationTrace(equation, 'problem 7'), traces[7]);
    // Three wordings of steps, three of endings, two orders of a sum; no difference is turned round.
    assert.equal(new Set(traces).size, 18);
    assert.ok(traces.every((trace) => trace.includes('9 - 7 = 2')));
  });
});
