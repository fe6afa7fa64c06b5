/** Worked solutions from equations: one line of arithmetic a step, then the answer. */
import { createRandom } from '../../support/random.js';
import { type Equation, formatAmount, solve } from './equation.js';

/** Ways to write the same, of which each problem gets one: a teacher that learned them all has choices that cost it nothing. */
const STEPS: readonly ((step: string) => string)[] = [
  (step) => `${step}.`,
  (step) => `We compute ${step}.`,
  (step) => `This gives ${step}.`,
];
const ENDINGS: readonly ((answer: string) => string)[] = [
  (answer) => `The answer is \\boxed{${answer}}.`,
  (answer) => `So the answer is \\boxed{${answer}}.`,
  (answer) => `Answer: \\boxed{${answer}}`,
];

/**
 * A solution in steps: `We compute 4 + 3 = 7. So the answer is \boxed{7}.` The wording, and the order of what is added or
 * multiplied, are drawn with `seed` (of the problem, so that it always has the same).
 */
export function equationTrace(equation: Equation, seed: string): string {
  const random = createRandom(`equation trace ${seed}`);
  const writeStep = STEPS[random.integer(STEPS.length)];
  const steps: string[] = [];
  const work = (part: Equation): string => {
    if (typeof part === 'number') return formatAmount(part);
    const operands = [work(part.left), work(part.right)];
    const isSwapped = (part.operator === '+' || part.operator === '*') && random.integer(2) === 1;
    const [first, second] = isSwapped ? operands.reverse() : operands;
    const value = formatAmount(solve(part));
    steps.push(writeStep(`${first} ${part.operator} ${second} = ${value}`));
    return value;
  };
  const answer = work(equation);
  const ending = ENDINGS[random.integer(ENDINGS.length)];
  return [...steps, ending(answer)].join(' ');
}
