import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createRandom } from '../../support/random.js';
import { endOf, generateProblem, generateProblems, type Problem, promptOf, type Split, splitOf } from './problems.js';
import { checkAnswer, describeTrace, readSteps } from './read-trace.js';
import { renderStatement } from './statements.js';
import { REPORT_STYLE, TEACHER_STYLE, type TraceStyle } from './styles.js';
import { MAX_TRACE_WORDS, renderTrace } from './traces.js';
import { COLOURS, CONNECTIVES, ORDINALS, PEOPLE, PLACES, WORDS } from './words.js';
import { connectiveAt, HABITS, randomHabits, ride } from './world.js';

const SPLITS: Split[] = ['train', 'holdout', 'distil', 'validation', 'test', 'sealed'];

const share = () => fc.double({ min: 0, max: 1, noNaN: true });
const anyStyle: fc.Arbitrary<TraceStyle> = fc.record({
  merged: share(),
  mergedNamed: share(),
  late: share(),
  numbered: share(),
  filler: share(),
});
const anyProblem: fc.Arbitrary<Problem> = fc.record({
  start: fc.nat(PLACES.length - 1),
  people: fc.array(fc.nat(PEOPLE.length - 1), { minLength: 4, maxLength: 4 }),
});
const anySeed = fc.nat(1e6);

/** Where a list of words says that things lead, read by nothing but the map: words that are no line, person or place are passed. */
function follow(words: readonly string[], place: number): number {
  return words.reduce((at, word) => {
    const line = Math.max(COLOURS.indexOf(word), ORDINALS.indexOf(word));
    if (line >= 0) return ride(at, line);
    const person = PEOPLE.indexOf(word);
    return person >= 0 ? ride(at, HABITS[person]) : at;
  }, place);
}

test('every word is one word of the vocabulary, once', () => {
  assert.equal(new Set(WORDS).size, WORDS.length);
  for (const word of WORDS) assert.match(word, /^\S+$/);
  assert.equal(PEOPLE.length, 120);
});

test('each line is a permutation of the places that leaves none in place', () => {
  for (const line of COLOURS.keys()) {
    const ends = PLACES.map((_, place) => ride(place, line));
    assert.deepEqual([...new Set(ends)].sort(), PLACES.map((_, place) => place).sort());
    assert.ok(ends.every((end, place) => end !== place));
  }
});

test('a step by two people tells neither line: of each place and end there are several pairs of lines, or none', () => {
  const numPairs = new Map<string, number>();
  for (const from of PLACES.keys()) {
    for (const first of COLOURS.keys()) {
      for (const second of COLOURS.keys()) {
        const key = `${from} ${ride(ride(from, first), second)}`;
        numPairs.set(key, (numPairs.get(key) ?? 0) + 1);
      }
    }
  }
  const alone = [...numPairs.values()].filter((count) => count === 1).length;
  assert.ok(alone / (PLACES.length * COLOURS.length ** 2) < 0.02, `${alone} of ${numPairs.size} ends tell the lines`);
});

test('every rendered trace, in every style, leads to the right end step by step', () => {
  fc.assert(
    fc.property(anyProblem, anyStyle, anySeed, (problem, style, seed) => {
      const text = renderTrace(problem, HABITS, { style, random: createRandom(seed) });
      const { steps, isGrammatical } = readSteps(text);
      assert.ok(isGrammatical, text);
      assert.deepEqual(
        steps.flatMap(({ people }) => people),
        problem.people,
      );
      let place = problem.start;
      for (const step of steps) {
        assert.equal(step.from, place);
        if (step.lines.length > 0) {
          assert.equal(
            step.lines.reduce((at, line) => ride(at, line), step.from),
            step.to,
          );
        }
        place = step.to;
      }
      assert.equal(place, follow(promptOf(problem).split(' '), problem.start));
      assert.ok(checkAnswer(text, problem));
      const facts = describeTrace(text);
      assert.equal(facts.numRight, steps.length);
      assert.equal(facts.numNamedRight, facts.numNamed);
      assert.equal(facts.numConsistent, steps.filter(({ lines }) => lines.length > 0).length);
      assert.ok(text.split(' ').length + 1 <= MAX_TRACE_WORDS);
      assert.ok(text.split(' ').every((word) => WORDS.includes(word)));
    }),
    { numRuns: 500 },
  );
});

test('the checker accepts exactly the right end, and only the last one said', () => {
  fc.assert(
    fc.property(anyProblem, fc.nat(PLACES.length - 1), (problem, place) => {
      const isRight = place === endOf(problem, HABITS);
      assert.equal(checkAnswer(`end ${PLACES[place]}`, problem), isRight);
      assert.equal(checkAnswer(`end ${PLACES[endOf(problem, HABITS)]} . end ${PLACES[place]}`, problem), isRight);
    }),
  );
  const problem = { start: 0, people: [0, 1, 2, 3] };
  for (const text of ['', 'end', 'at dock', 'end xavier', PLACES[endOf(problem, HABITS)]]) {
    assert.equal(checkAnswer(text, problem), false, text);
  }
});

test('the freedoms of a style come out as often as it says', () => {
  const random = createRandom(3);
  for (const style of [TEACHER_STYLE, REPORT_STYLE]) {
    const texts = generateProblems(2000, 'train', 5).map((problem) => renderTrace(problem, HABITS, { style, random }));
    const facts = texts.map((text) => describeTrace(text));
    const sum = (of: (fact: (typeof facts)[number]) => number) => facts.reduce((total, fact) => total + of(fact), 0);
    const merged = sum((fact) => fact.numMerged);
    const near = (part: number, whole: number, expected: number) =>
      assert.ok(Math.abs(part / whole - expected) < 5 * Math.sqrt(0.25 / whole), `${part / whole}, not ${expected}`);
    near(
      sum((fact) => fact.numMergedNamed),
      merged,
      style.mergedNamed,
    );
    near(
      sum((fact) => fact.numLate),
      sum((fact) => fact.numSingle),
      style.late,
    );
    // Steps that begin at the last person cannot be merged, so the share is that of the first steps.
    near(texts.filter((text) => readSteps(text).steps[0].people.length === 2).length, texts.length, style.merged);
  }
});

test('the word between two people follows from the place, and each place has one', () => {
  const random = createRandom(4);
  const style = { ...TEACHER_STYLE, merged: 1 };
  for (const problem of generateProblems(50, 'train', 6)) {
    const words = renderTrace(problem, HABITS, { style, random }).split(' ');
    words.forEach((word, index) => {
      if (!CONNECTIVES.includes(word)) return;
      assert.equal(word, connectiveAt(PLACES.indexOf(words[index - 2])));
    });
  }
  assert.deepEqual(
    CONNECTIVES.map((word) => PLACES.filter((_, place) => connectiveAt(place) === word).length),
    [4, 4, 4],
  );
});

test('a problem is in one split, that of its words, and splits have their shares', () => {
  const random = createRandom(1);
  for (const split of SPLITS) {
    const problem = generateProblem(split, random);
    assert.equal(splitOf(problem), split);
    assert.equal(splitOf({ start: problem.start, people: [...problem.people] }), split);
  }
  const counts = new Map<Split, number>();
  for (let index = 0; index < 5000; index++) {
    const people = Array.from({ length: 4 }, () => random.integer(PEOPLE.length));
    const split = splitOf({ start: random.integer(PLACES.length), people });
    counts.set(split, (counts.get(split) ?? 0) + 1);
  }
  const shares = [0.7, 0.05, 0.15, 0.04, 0.03, 0.03];
  SPLITS.forEach((split, index) => {
    const found = counts.get(split)! / 5000;
    assert.ok(Math.abs(found - shares[index]) < 0.025, `${split}: ${found}`);
  });
});

test('problems follow from count, split and seed: more of them begin with the same ones, none twice', () => {
  const few = generateProblems(20, 'test', 9);
  const many = generateProblems(200, 'test', 9);
  assert.deepEqual(many.slice(0, 20), few);
  assert.equal(new Set(many.map(promptOf)).size, 200);
  assert.notDeepEqual(generateProblems(20, 'test', 10), few);
});

test('statements are true, and what they mark as determined follows from the words before', () => {
  fc.assert(
    fc.property(share(), share(), share(), anySeed, (pairs, lines, named, seed) => {
      const { words, isDetermined } = renderStatement(HABITS, {
        mix: { pairs, lines, named },
        random: createRandom(seed),
      });
      const { length } = words;
      assert.equal(isDetermined.length, length);
      const isLine = (word: string) => COLOURS.includes(word) || ORDINALS.includes(word);
      const end = words.findIndex((word, index) => index > 1 && PLACES.includes(word));
      const travellers = words[3] === connectiveAt(PLACES.indexOf(words[1])) ? [words[2], words[4]] : [words[2]];
      assert.equal(words[end], PLACES[follow(travellers, PLACES.indexOf(words[1]))]);
      const said = words.filter((word, index) => isLine(word) && index > 2 * travellers.length);
      if (said.length > 0) assert.equal(words[end], PLACES[follow(said, PLACES.indexOf(words[1]))]);
      assert.equal(isDetermined.filter(Boolean).length, 1 + said.length);
    }),
  );
});

test('other habits are other knowledge under the same map', () => {
  const others = randomHabits('another day');
  const agreeing = others.filter((line, person) => line === HABITS[person]).length;
  assert.ok(agreeing > 0 && agreeing < PEOPLE.length / 3);
  const problem = generateProblem('train', createRandom(2));
  const text = renderTrace(problem, others, { style: TEACHER_STYLE, random: createRandom(3) });
  assert.ok(checkAnswer(text, problem, others));
});

test('a trace with foreign words is ungrammatical, and what is readable in it still counts', () => {
  const text = 'so at dock xavier red-line to well . at well banana . at well tim to forge by third . end forge';
  const facts = describeTrace(text);
  assert.equal(facts.isGrammatical, false);
  assert.equal(facts.numSingle, 2);
  assert.equal(facts.numLate, 1);
  assert.deepEqual(
    facts.namedPeople,
    ['xavier', 'tim'].map((name) => PEOPLE.indexOf(name)),
  );
  assert.equal(describeTrace('at dock xavier to well . end well').numNamed, 0);
});
