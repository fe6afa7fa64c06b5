/** `npm run bench`: flags in; a table and a JSON file out. */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { AzeotropeError, ConfigError, messageOf } from '../../src/support/errors.js';
import { writeFileAtomic } from '../../src/support/files.js';
import { sharedPath } from '../../src/support/shared-data.fixture.js';
import { CASES } from './cases.js';
import { describeCommit, describeMachine, loadNow } from './machine.js';
import { findPeers } from './peers.js';
import { type Report, reportText, targetTable } from './report.js';
import { runGroup } from './schedule.js';
import { type ResultRow, resultRows } from './summary.js';
import { comparisonTable, formatTable } from './table.js';
import { judge } from './targets.js';
import type { BenchCase, BenchContext, GroupResult, Table } from './types.js';

const USAGE = `Usage: npm run bench -- [flags]
  --only NAMES      these benchmarks, comma-separated: ${CASES.map(({ name }) => name).join(', ')}
  --setting TEXT    of them the settings whose names contain this
  --threads LIST    thread counts, default 1,2
  --rounds N        rounds of alternating runs, default 3
  --seconds S       time of one measurement, default 5
  --quick           one round, short, fewer settings
  --model FILE      SmolLM2-135M as .gguf
  --problems FILE   SVAMP word problems (.jsonl), for finetune
  --json FILE       write every number here
  --markdown FILE   write the tables here
  --help            this text

Peers: AZEOTROPE_PYTHON names a Python with torch and transformers; AZEOTROPE_PEERS a folder whose node_modules hold
node-llama-cpp. What is missing is left out.
`;

const log = (message: string): void => console.error(message);

export async function runBench(argv: readonly string[]): Promise<void> {
  try {
    const options = readFlags(argv);
    if (options === undefined) process.stdout.write(USAGE);
    else await run(options);
  } catch (error) {
    const isMistake = error instanceof AzeotropeError;
    console.error(isMistake ? error.message : error);
    process.exitCode = isMistake ? 2 : 1;
  }
}

interface Options extends Omit<BenchContext, 'peers' | 'log'> {
  readonly cases: readonly BenchCase[];
  /** Part of the names of settings to run; empty: all. */
  readonly setting: string;
  readonly rounds: number;
  readonly json: string | undefined;
  readonly markdown: string | undefined;
}

function readFlags(argv: readonly string[]): Options | undefined {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        only: text,
        setting: text,
        threads: text,
        rounds: text,
        seconds: text,
        model: text,
        problems: text,
        json: text,
        markdown: text,
        quick: flag,
        help: flag,
      },
    }));
  } catch (error) {
    throw new ConfigError(`${messageOf(error)}\n\n${USAGE}`);
  }
  if (values.help === true) return undefined;
  const quick = values.quick === true;
  const string = (name: string) => values[name] as string | undefined;
  const numbers = (name: string, fallback: string, isWhole: boolean): number[] =>
    (string(name) ?? fallback).split(',').map((part) => {
      const value = Number(part);
      if (value > 0 && (!isWhole || Number.isInteger(value))) return value;
      throw new ConfigError(`--${name}: expected ${isWhole ? 'a whole number' : 'a number'} above 0, got '${part}'.`);
    });
  return {
    cases: chosenCases(string('only')),
    setting: string('setting') ?? '',
    threads: numbers('threads', '1,2', true),
    rounds: numbers('rounds', quick ? '1' : '3', true)[0],
    seconds: numbers('seconds', quick ? '1' : '5', false)[0],
    quick,
    model: fileOf('model', string('model'), 'models/SmolLM2-135M-Instruct.Q4_1.gguf'),
    wordProblems: fileOf('problems', string('problems'), 'data/wordproblems/svamp.jsonl'),
    scratch: join(tmpdir(), 'azeotrope-bench'),
    json: string('json'),
    markdown: string('markdown'),
  };
}

function chosenCases(only: string | undefined): readonly BenchCase[] {
  if (only === undefined) return CASES.filter(({ isLong }) => isLong !== true);
  return only.split(',').map((name) => {
    const found = CASES.find((candidate) => candidate.name === name);
    if (found !== undefined) return found;
    throw new ConfigError(
      `--only: no benchmark is called '${name}'. There are ${CASES.map((c) => c.name).join(', ')}.`,
    );
  });
}

/** The file of a flag, which must exist; without the flag, the one among the shared data, where that is there. */
function fileOf(flag: string, given: string | undefined, shared: string): string | undefined {
  if (given !== undefined && !existsSync(given)) throw new ConfigError(`--${flag}: ${given} does not exist.`);
  return given ?? sharedPath(shared);
}

async function run(options: Options): Promise<void> {
  const { cases, rounds } = options;
  const context: BenchContext = { ...options, peers: findPeers(log), log };
  const startedAt = new Date().toISOString();
  const loadBefore = loadNow();
  const commit = describeCommit();
  const done: { bench: BenchCase; results: GroupResult[] }[] = [];
  const finish = async (): Promise<Report> => {
    const rows = done.flatMap(rowsOf);
    const report: Report = {
      schemaVersion: 1,
      startedAt,
      ...commit,
      machine: describeMachine(),
      loadBefore,
      loadAfter: loadNow(),
      threads: options.threads,
      rounds,
      secondsPerMeasurement: options.seconds,
      rows,
      targets: judge(rows),
      tables: done.flatMap(tablesOf),
    };
    const samples = done.flatMap(({ bench, results }) => withoutLists(bench.name, results));
    if (options.json !== undefined) {
      await writeFileAtomic(options.json, `${JSON.stringify({ ...report, samples }, null, 1)}\n`);
    }
    if (options.markdown !== undefined) await writeFileAtomic(options.markdown, reportText(report));
    return report;
  };
  for (const bench of cases) {
    const own = { bench, results: [] as GroupResult[] };
    done.push(own);
    for (const group of await bench.groups(context)) {
      if (!group.setting.includes(options.setting)) continue;
      log(`${bench.name}: ${group.setting}, threads ${group.threads}`);
      own.results.push(await runGroup(group, { rounds, log }));
      await finish(); // a long run that is stopped leaves what it has
    }
    for (const table of tablesOf(own)) process.stdout.write(`${formatTable(table)}\n`);
  }
  const { targets } = await finish();
  if (targets.length > 0) process.stdout.write(`${formatTable(targetTable(targets))}\n`);
}

interface CaseResults {
  readonly bench: BenchCase;
  readonly results: readonly GroupResult[];
}

const rowsOf = ({ bench, results }: CaseResults): ResultRow[] =>
  results.flatMap((result) => resultRows(bench.name, result, bench.metrics));

function tablesOf(own: CaseResults): Table[] {
  const { bench, results } = own;
  if (results.length === 0) return [];
  const rows = rowsOf(own);
  return [
    ...(rows.length > 0 ? [comparisonTable(`${bench.name}: ${bench.summary}`, rows)] : []),
    ...[bench.table?.(results)].filter((table) => table !== undefined),
  ];
}

/** Samples as they were printed, without series of single steps and without paths of this machine. */
function withoutLists(name: string, results: readonly GroupResult[]): unknown[] {
  const kept = (sample: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(
      Object.entries(sample).filter(
        ([key, value]) => !['stepMs', 'model', 'problems'].includes(key) || typeof value === 'number',
      ),
    );
  return results.map(({ group, rounds }) => ({
    case: name,
    setting: group.setting,
    threads: group.threads,
    rounds: rounds.map((round) => Object.fromEntries(Object.entries(round).map(([who, s]) => [who, kept(s)]))),
  }));
}
