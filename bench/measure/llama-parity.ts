/** Greedy tokens against llama.cpp's and against float32's, on the prompts of test/parity/golden/llama-cpp. */
import { readFileSync } from 'node:fs';
import { createGenerator } from '../../src/inference/generator.js';
import { openModel } from '../../src/jobs/open-model.js';
import { withCompiler } from './session.js';

const GOLDEN = new URL('../../test/parity/golden/llama-cpp/', import.meta.url);
const ENOUGH_TOKENS = 32;

interface Float32Row {
  readonly id: string;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly seconds: readonly number[];
  readonly gaps: readonly number[];
}

export interface ParityDifference {
  readonly id: string;
  /** Index of the first token that differs. */
  readonly index: number;
  readonly azeotrope: number;
  readonly other: number;
  /** The other took the second-best token of float32. */
  readonly isSecondBest: boolean;
  /** Best minus second logit in float32 there; null where azeotrope had left float32's tokens before. */
  readonly gap: number | null;
}

function read<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, GOLDEN), 'utf8')) as T;
}

export function measure({ model: path, threads }: { model: string; threads: number }): Promise<object> {
  return withCompiler(threads, async (compiler) => {
    const float32 = read<{ rows: readonly Float32Row[] }>('smollm2-float32.json').rows;
    const llama = read<{ rows: readonly { tokens: readonly number[] }[] }>('smollm2-greedy.json').rows;
    const { model } = await openModel(path, { compiler });
    const generator = createGenerator(model, { maxBatch: float32.length });
    const answers = new Map<string, readonly number[]>();
    const requests = float32.map(({ id, promptTokens, tokens }) => {
      return { id, promptTokens, maxTokens: tokens.length, sampler: { temperature: 0 } };
    });
    await generator.generate(requests, { onTrace: ({ id, tokens }) => void answers.set(id, tokens) });
    generator.dispose();
    model.dispose();

    const fromLlama: ParityDifference[] = [];
    const fromFloat32: ParityDifference[] = [];
    float32.forEach((row, index) => {
      const own = answers.get(row.id)!;
      const a = firstDifference(row, own, llama[index].tokens);
      const b = firstDifference(row, own, row.tokens);
      if (a !== undefined) fromLlama.push(a);
      if (b !== undefined) fromFloat32.push(b);
    });
    const numEqual = (differences: readonly ParityDifference[]) =>
      float32.length - differences.filter(({ index }) => index < ENOUGH_TOKENS).length;
    return {
      threads,
      numPrompts: float32.length,
      numEqualToLlamaCpp: numEqual(fromLlama),
      numEqualToFloat32: numEqual(fromFloat32),
      largestGap: Math.max(0, ...fromLlama.map(({ gap }) => gap ?? Number.POSITIVE_INFINITY)),
      fromLlama,
      fromFloat32,
    };
  });
}

function firstDifference(
  row: Float32Row,
  own: readonly number[],
  other: readonly number[],
): ParityDifference | undefined {
  const length = Math.max(own.length, other.length);
  const index = Array.from({ length }, (_, at) => at).find((at) => own[at] !== other[at]);
  if (index === undefined) return undefined;
  const followsFloat32 = own.slice(0, index).every((token, at) => token === row.tokens[at]);
  return {
    id: row.id,
    index,
    azeotrope: own[index] ?? -1,
    other: other[index] ?? -1,
    isSecondBest: other[index] === row.seconds[index] || own[index] === row.seconds[index],
    gap: followsFloat32 ? row.gaps[index] : null,
  };
}
