/** What the numbers are held against. */
import type { ResultRow } from './summary.js';

export interface Target {
  readonly text: string;
  readonly limit: number;
  readonly isAtLeast: boolean;
  /** The measured value; undefined where it was not measured. */
  read(rows: readonly ResultRow[]): number | undefined;
}

export interface Verdict {
  readonly target: string;
  readonly value: number;
  readonly limit: string;
  readonly isMet: boolean;
}

interface Where {
  readonly case: string;
  /** Without its sizes. */
  readonly setting: string;
  readonly threads: number;
  readonly quantity: string;
  readonly who?: string;
}

/** What may follow the name of a setting: ` (d128 L4…)`, `, 4×256`; another prompt is another setting. */
const SIZES = /^( \(|, \d|$)/;

function find(rows: readonly ResultRow[], where: Where): ResultRow | undefined {
  return rows.find(
    (row) =>
      row.case === where.case &&
      row.setting.startsWith(where.setting) &&
      SIZES.test(row.setting.slice(where.setting.length)) &&
      row.threads === where.threads &&
      row.quantity === where.quantity &&
      (where.who === undefined || row.peer?.who === where.who),
  );
}

const training = (setting: string, threads: number, quantity = 'training'): Where => ({
  case: 'train-step',
  setting,
  threads,
  quantity,
});
const finetuning = (setting: string, threads: number, quantity: string, who?: string): Where => ({
  ...{ case: 'finetune', setting: `${setting}, SmolLM2-135M`, threads, quantity },
  ...(who !== undefined && { who }),
});
const decoding = (quantity: string): Where => ({ case: 'decode', setting: '9 M, batch 32', threads: 1, quantity });
const smollm2 = (quantity: string, threads: number): Where => {
  return { case: 'smollm2', setting: 'SmolLM2-135M, batch 32', threads, quantity, who: 'transformers' };
};
/** One sequence in bfloat16, on the blocks of the file. */
const alone = (quantity: string, threads: number, who: string, length = ''): Where => {
  return { case: 'smollm2', setting: `bfloat16, SmolLM2-135M, batch 1${length}`, threads, quantity, who };
};
const LLAMA_CPP = 'llama.cpp (weights of 4 bits)';
const defended = (setting: string, quantity: string, threads = 1): Where => {
  return { case: 'defence', setting, threads, quantity };
};
const distilled = (setting: string, threads: number, quantity: string): Where => {
  return { case: 'distill', setting, threads, quantity };
};
const ADDED_MEMORY = 'peak memory beyond plain sampling';
const atLeast = (text: string, limit: number, read: Target['read']): Target => ({ text, limit, isAtLeast: true, read });
const atMost = (text: string, limit: number, read: Target['read']): Target => ({ text, limit, isAtLeast: false, read });
export const ratioOf = (where: Where) => (rows: readonly ResultRow[]) => find(rows, where)?.ratio?.median;
const measured = (where: Where) => (rows: readonly ResultRow[]) => find(rows, where)?.azeotrope.median;
const BOTH = [1, 2] as const;

const TARGETS: readonly Target[] = [
  atLeast(
    'training 9 M, 1 thread: share of the rate of products',
    0.65,
    (rows) => find(rows, training('9 M', 1))?.shareOfProducts?.median,
  ),
  ...BOTH.map((n) => atLeast(`training 9 M, threads ${n}: against PyTorch`, 1, ratioOf(training('9 M', n)))),
  ...BOTH.map((n) => atLeast(`training 0.9 M, threads ${n}: against PyTorch`, 1, ratioOf(training('0.9 M', n)))),
  ...['0.9 M', '9 M', '28 M'].flatMap((size) =>
    BOTH.flatMap((n) =>
      ['PyTorch', 'PyTorch bfloat16'].map((who) =>
        atLeast(
          `training ${size} in bfloat16, threads ${n}: against ${who}`,
          2.7,
          ratioOf({ ...training(`bfloat16, ${size}`, n), who }),
        ),
      ),
    ),
  ),
  ...['0.9 M', '9 M', '28 M'].flatMap((size) =>
    BOTH.map((n) =>
      atLeast(
        `training ${size}, kernels held to AVX2, threads ${n}: against ONNX Runtime`,
        1,
        ratioOf({ ...training(`kernels held to AVX2, ${size}`, n), who: 'ONNX Runtime' }),
      ),
    ),
  ),
  ...['9 M', '0.9 M'].map((size) =>
    atMost(`training ${size}, 1 thread: peak memory against PyTorch`, 1, ratioOf(training(size, 1, 'peak memory'))),
  ),
  atLeast(
    'decoding 9 M in bfloat16, context 256, batch 32, 1 thread: tokens/s',
    3000,
    measured({ ...decoding('decoding near context 256'), setting: 'bfloat16, 9 M, batch 32' }),
  ),
  atMost('decoding 9 M, batch 32, 1 thread: outside the engine', 0.1, measured(decoding('outside the engine'))),
  ...BOTH.map((n) =>
    atLeast(`SmolLM2-135M, batch 32, threads ${n}: against transformers`, 1, ratioOf(smollm2('decoding', n))),
  ),
  ...BOTH.map((n) =>
    atLeast(
      `SmolLM2-135M in bfloat16, batch 32, threads ${n}: against transformers bfloat16`,
      2,
      ratioOf({
        ...smollm2('decoding', n),
        setting: 'bfloat16, SmolLM2-135M, batch 32',
        who: 'transformers bfloat16',
      }),
    ),
  ),
  ...BOTH.flatMap((n) =>
    ['transformers bfloat16', LLAMA_CPP].map((who) =>
      atLeast(
        `SmolLM2-135M in bfloat16, batch 32 after 256 tokens, threads ${n}: against ${who}`,
        2,
        ratioOf({ ...smollm2('decoding', n), setting: 'bfloat16, SmolLM2-135M, batch 32, prompt of 256', who }),
      ),
    ),
  ),
  ...BOTH.flatMap((n) =>
    ['transformers bfloat16', LLAMA_CPP].map((who) =>
      atMost(
        `SmolLM2-135M in bfloat16, batch 32 after 256 tokens, threads ${n}: peak memory against ${who}`,
        1,
        ratioOf({ ...smollm2('peak memory', n), setting: 'bfloat16, SmolLM2-135M, batch 32, prompt of 256', who }),
      ),
    ),
  ),
  ...BOTH.flatMap((n) => [
    atLeast(`SmolLM2-135M, batch 1, threads ${n}: against llama.cpp`, 1, ratioOf(alone('decoding', n, LLAMA_CPP))),
    atLeast(
      `SmolLM2-135M, batch 1 after 256 tokens, threads ${n}: against llama.cpp`,
      1,
      ratioOf(alone('decoding', n, LLAMA_CPP, ', prompt of 256')),
    ),
    ...[LLAMA_CPP, 'node-llama-cpp'].map((who) =>
      atMost(
        `SmolLM2-135M, batch 1, threads ${n}: peak memory against ${who}`,
        1,
        ratioOf(alone('peak memory', n, who)),
      ),
    ),
    ...['transformers bfloat16', LLAMA_CPP].map((who) =>
      atLeast(
        `SmolLM2-135M, prompts of 256, threads ${n}: against ${who}`,
        1.2,
        ratioOf(alone('prompts', n, who, ', prompt of 256')),
      ),
    ),
  ]),
  ...[
    '9 M, batch 32',
    '135 M, batch 32',
    ...['nothing cut', 'top-p 0.95', 'min-p 0.05'].flatMap((cut) =>
      ['', ', after 256 tokens'].map((place) => `SmolLM2-135M, batch 32, ${cut}${place}`),
    ),
  ]
    .map((pair) => `bfloat16, ${pair}`)
    .flatMap((setting) =>
      BOTH.map((n) =>
        atMost(
          `defended ${setting}, threads ${n}: exact derivative / plain`,
          1.6,
          measured(defended(setting, 'exact derivative / plain', n)),
        ),
      ),
    ),
  ...['9 M', '135 M']
    .flatMap((pair) => [`${pair}, batch 1`, `${pair}, batch 32`])
    .flatMap((setting) => [
      atMost(
        `defended ${setting}: central differences / plain`,
        2,
        measured(defended(setting, 'central differences / plain')),
      ),
      atMost(
        `defended ${setting}: exact derivative / plain`,
        2.2,
        measured(defended(setting, 'exact derivative / plain')),
      ),
    ]),
  ...['central', 'jvp'].map((estimator) =>
    atMost(
      `defended, ${estimator}: peak memory beyond plain, proxies`,
      2.2,
      measured(defended(`memory, ${estimator}`, ADDED_MEMORY)),
    ),
  ),
  ...['0.9 M', '9 M'].flatMap((size) =>
    BOTH.flatMap((n) => [
      atMost(
        `distillation ${size}, threads ${n}: adversarial step / supervised`,
        4,
        measured(distilled(size, n, 'adversarial step / supervised step')),
      ),
      atLeast(
        `distillation ${size}, threads ${n}: rollouts / plain decoding`,
        0.6,
        measured(distilled(size, n, 'rollouts / plain decoding')),
      ),
      atMost(
        `distillation ${size}, threads ${n}: white-box step / supervised`,
        1.3,
        measured(distilled(size, n, 'white-box step / supervised step')),
      ),
    ]),
  ),
  ...BOTH.flatMap((n) => [
    atLeast(
      `fine-tuning SmolLM2-135M, threads ${n}: against transformers bfloat16`,
      3.5,
      ratioOf(finetuning('all weights', n, 'training', 'transformers bfloat16')),
    ),
    atMost(
      `fine-tuning SmolLM2-135M, threads ${n}: peak memory, MB`,
      4000,
      measured(finetuning('all weights', n, 'peak memory')),
    ),
    atLeast(
      `LoRA of SmolLM2-135M, threads ${n}: against all weights`,
      1.3,
      ratioOf(finetuning('LoRA rank 16', n, 'training', 'azeotrope, all weights')),
    ),
    ...['all weights', 'LoRA rank 16'].map((setting) =>
      atMost(
        `${setting} of SmolLM2-135M, threads ${n}: peak memory against transformers bfloat16`,
        1,
        ratioOf(finetuning(setting, n, 'peak memory', 'transformers bfloat16')),
      ),
    ),
  ]),
  ...BOTH.map((n) => atMost(`SmolLM2-135M, threads ${n}: loading, s`, 3, measured(smollm2('loading', n)))),
];

/** The targets that this run measured. */
export function judge(rows: readonly ResultRow[], targets: readonly Target[] = TARGETS): Verdict[] {
  return targets.flatMap(({ text, limit, isAtLeast, read }) => {
    const value = read(rows);
    if (value === undefined) return [];
    const isMet = isAtLeast ? value >= limit : value <= limit;
    return [{ target: text, value, limit: `${isAtLeast ? '≥' : '≤'} ${limit}`, isMet }];
  });
}
