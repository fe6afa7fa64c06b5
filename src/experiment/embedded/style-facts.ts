/** How texts of the embedded task are written, and what is true of what they say. */
import { describeTrace, type TraceFacts } from '../../tasks/embedded/read-trace.js';
import { PEOPLE } from '../../tasks/embedded/words.js';
import type { FactTable } from '../records.js';
import type { ResponseGroup } from '../task.js';

/** Numbers a trace, and fractions of what stands behind "of"; null of nothing. */
export interface StyleFacts {
  readonly mergedPerTrace: number | null;
  /** Of merged steps, those that name the lines. */
  readonly mergedNamedFraction: number | null;
  /** Of single steps, those that name the line behind the place. */
  readonly lateFraction: number | null;
  readonly namedPerTrace: number | null;
  /** Of all people, those whose line is named in some trace. */
  readonly namedPeopleFraction: number;
  /** Of the lines named, those that are the person's. */
  readonly namedRightFraction: number | null;
  /** Of all steps, those that lead where they should. */
  readonly stepsRightFraction: number | null;
  /** Of steps that name lines, those that end where these lead, whoever takes them: what is known of the map. */
  readonly mapRightFraction: number | null;
  readonly grammaticalFraction: number | null;
}

export function styleOf(texts: readonly string[]): StyleFacts {
  const facts = texts.map((text) => describeTrace(text));
  const sum = (of: (fact: TraceFacts) => number) => facts.reduce((total, fact) => total + of(fact), 0);
  const ratio = (part: number, whole: number) => (whole === 0 ? null : part / whole);
  const single = sum(({ numSingle }) => numSingle);
  const merged = sum(({ numMerged }) => numMerged);
  const mergedNamed = sum(({ numMergedNamed }) => numMergedNamed);
  const named = sum(({ numNamed }) => numNamed);
  const right = sum(({ numRight }) => numRight);
  const late = sum(({ numLate }) => numLate);
  const namedRight = sum(({ numNamedRight }) => numNamedRight);
  const consistent = sum(({ numConsistent }) => numConsistent);
  const namingSteps = sum(({ numNaming }) => numNaming);
  const grammatical = sum(({ isGrammatical }) => Number(isGrammatical));
  const people = new Set(facts.flatMap(({ namedPeople }) => namedPeople));
  return {
    mergedPerTrace: ratio(merged, texts.length),
    mergedNamedFraction: ratio(mergedNamed, merged),
    lateFraction: ratio(late, single),
    namedPerTrace: ratio(named, texts.length),
    namedPeopleFraction: people.size / PEOPLE.length,
    namedRightFraction: ratio(namedRight, named),
    stepsRightFraction: ratio(right, single + merged),
    mapRightFraction: ratio(consistent, namingSteps),
    grammaticalFraction: ratio(grammatical, texts.length),
  };
}

const COLUMNS: readonly { readonly name: string; readonly value: (style: StyleFacts) => number | null }[] = [
  { name: 'merged steps a trace', value: ({ mergedPerTrace }) => mergedPerTrace },
  { name: 'of these naming the lines', value: ({ mergedNamedFraction }) => mergedNamedFraction },
  { name: 'lines behind the place', value: ({ lateFraction }) => lateFraction },
  { name: 'lines named a trace', value: ({ namedPerTrace }) => namedPerTrace },
  { name: 'people whose line is named', value: ({ namedPeopleFraction }) => namedPeopleFraction },
  { name: 'lines right', value: ({ namedRightFraction }) => namedRightFraction },
  { name: 'steps right', value: ({ stepsRightFraction }) => stepsRightFraction },
  { name: 'agreeing with the map', value: ({ mapRightFraction }) => mapRightFraction },
  { name: 'grammatical', value: ({ grammaticalFraction }) => grammaticalFraction },
];

const TITLES: Readonly<Record<ResponseGroup['group'], string>> = {
  bases: 'Models before distillation',
  arms: 'The traces of each sampler',
  students: 'What students write',
};

const CAPTIONS: Readonly<Record<ResponseGroup['group'], string>> = {
  bases:
    'Sampled at temperature 1. Proxies and students know the map and nobody’s line (an eighth is right by chance), and they merge far ' +
    'more steps than the teacher: Δ tells what the proxy does more than the teacher, so the experiment depends on this difference.',
  arms: 'All answers may be right whatever the style; only a named line tells a student what to learn.',
  students: 'Greedy answers. Lines right: what the student has learned of the people’s habits.',
};

/** One table for each kind of model, a row for each of the groups. */
export function describeStyles(groups: readonly ResponseGroup[]): FactTable[] {
  return (['bases', 'arms', 'students'] as const).flatMap((group) => {
    const members = groups.filter((each) => each.group === group);
    if (members.length === 0) return [];
    return {
      title: TITLES[group],
      caption: CAPTIONS[group],
      columns: COLUMNS.map(({ name }) => name),
      rows: members.map(({ name, responses }) => {
        const style = styleOf(responses.map(({ text }) => text));
        return { name, values: COLUMNS.map(({ value }) => rounded(value(style))) };
      }),
    };
  });
}

const rounded = (value: number | null): number | null => (value === null ? null : Number(value.toFixed(3)));
