/**
 * Whether two runs of one configuration agree within their intervals, as one in float32 and one in bfloat16 should:
 *   npx azeotrope tradeoff --config recipes/embedded.yaml --precision float32 --output runs/float32
 *   npx azeotrope tradeoff --config recipes/embedded.yaml --precision bfloat16 --output runs/bfloat16
 *   npx tsx bench/studies/compare-tradeoffs.ts runs/float32 runs/bfloat16
 * Ends with 1 where a setting's intervals of teacher or student do not overlap, or where one run alone has it.
 */
import { readRecords } from '../../src/report/run-records.js';
import { type Estimate, groupSettings, type Setting } from '../../src/report/settings.js';

const [first, second] = process.argv.slice(2);
if (first === undefined || second === undefined) {
  console.error('Name two run folders of azeotrope tradeoff.');
  process.exit(2);
}

const agree = (a: Estimate, b: Estimate): boolean =>
  a.interval.lower <= b.interval.upper && b.interval.lower <= a.interval.upper;

const describe = ({ rate, interval: { lower, upper } }: Estimate): string =>
  `${rate.toFixed(3)} (${lower.toFixed(3)}–${upper.toFixed(3)})`;

/** What stands for a setting in both runs: an order of students that does not depend on what was solved for. */
const nameOf = ({ name, studentKind, proxyKind, attack, trainingMultiple }: Setting): string =>
  [name, studentKind, proxyKind, attack ?? 'plain', `${trainingMultiple}×`].join(', ');

const [a, b] = await Promise.all([first, second].map(readRecords));
console.log(`${first}: ${a.tradeoff.precision ?? 'float32'}; ${second}: ${b.tradeoff.precision ?? 'float32'}\n`);
const others = new Map(groupSettings(b.tradeoff.points).map((setting) => [nameOf(setting), setting]));
let numDifferent = 0;
let numCompared = 0;
for (const setting of groupSettings(a.tradeoff.points)) {
  const name = nameOf(setting);
  const other = others.get(name);
  others.delete(name);
  if (other === undefined) {
    numDifferent++;
    console.log(`only in ${first}: ${name}`);
    continue;
  }
  for (const who of ['teacher', 'student'] as const) {
    numCompared++;
    const isSame = agree(setting[who], other[who]);
    if (!isSame) numDifferent++;
    console.log(`${isSame ? 'agree ' : 'DIFFER'} ${who} ${describe(setting[who])} ${describe(other[who])}  ${name}`);
  }
}
for (const name of others.keys()) {
  numDifferent++;
  console.log(`only in ${second}: ${name}`);
}
console.log(`\n${numCompared} pairs of 95 % intervals, ${numDifferent} that differ.`);
process.exit(numDifferent === 0 ? 0 : 1);
