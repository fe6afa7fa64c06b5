import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pythonPeer } from '../harness/peers.js';
import { runCommand } from '../harness/run-command.js';
import type { BenchCase, BenchContext, Group } from '../harness/types.js';

const REFERENCE = 'PyTorch, reference style';

/** In bfloat16 central differences stay in float32; the exact derivative does not. */
const RUNS = (['9 M', '135 M'] as const).flatMap((pair) =>
  (['float32', 'bfloat16'] as const).flatMap((precision) =>
    ([1, 32] as const).map((batch) => ({ pair, precision, batch })),
  ),
);

/** Tokens of a prompt, and new ones of each row. */
const LENGTHS = {
  '9 M': { prompt: 16, newTokens: { 1: 200, 32: 100 } },
  '135 M': { prompt: 64, newTokens: { 1: 48, 32: 24 } },
} as const;

export const defence: BenchCase = {
  name: 'defence',
  summary:
    'antidistillation sampling of teachers of 9 M and 135 M parameters, each with a proxy of 3/7 of its compute, against plain sampling ' +
    "in the same process; a loop like that of the authors' program in PyTorch beside the smaller; the memory it adds",
  metrics: [
    {
      quantity: 'plain sampling',
      unit: 'tokens/s',
      key: 'plainTokensPerSecond',
      peers: { [REFERENCE]: 'plainTokensPerSecond' },
    },
    {
      quantity: 'sampling under central differences',
      unit: 'tokens/s',
      key: 'centralTokensPerSecond',
      peers: { [REFERENCE]: 'defendedTokensPerSecond' },
    },
    {
      quantity: 'central differences / plain',
      unit: 'time',
      key: 'centralRelative',
      peers: { [REFERENCE]: 'relative' },
    },
    { quantity: 'exact derivative / plain', unit: 'time', key: 'jvpRelative' },
    { quantity: "proxy's share of the teacher's compute", unit: '', key: 'proxyShareOfCompute' },
    { quantity: 'peak memory beyond plain sampling', unit: 'proxies', key: 'addedProxies' },
  ],
  async groups(context) {
    const { threads, seconds, peers } = context;
    const speed = threads.flatMap((count) =>
      RUNS.map(({ pair, precision, batch }): Group => {
        const { prompt, newTokens: lengths } = LENGTHS[pair];
        const newTokens = lengths[batch];
        const options = { pair, threads: count, batch, prompt, newTokens, seconds, precision };
        const flags = { batch, prompt, new: newTokens, threads: count, seconds };
        const series = [{ who: 'azeotrope', command: { kind: 'measure' as const, name: 'defence', options } }];
        const reference =
          peers.python === undefined || precision === 'bfloat16' || pair !== '9 M'
            ? []
            : [{ who: REFERENCE, command: pythonPeer(peers.python, 'pytorch_antidistillation.py', flags) }];
        const setting = `${precision === 'float32' ? '' : 'bfloat16, '}${pair}, batch ${batch}`;
        return { setting, threads: count, series: [...series, ...reference] };
      }),
    );
    return [...speed, ...realGroups(context), ...(await memoryGroups(context))];
  },
};

/** The recipes of word problems sample with min-p, the authors' program with top-p. */
const CUTS = { 'nothing cut': {}, 'top-p 0.95': { topP: 0.95 }, 'min-p 0.05': { minP: 0.05 } } as const;

/** Soon after a short prompt, and where decoding is measured elsewhere: after 256 tokens. */
const PLACES = [
  { suffix: '', prompt: 64, newTokens: 24 },
  { suffix: ', after 256 tokens', prompt: 256, newTokens: 48, estimators: ['jvp'] },
] as const;

/** A model that has learnt something: its distributions leave little after a cut. */
function realGroups({ threads, seconds, model, log }: BenchContext): Group[] {
  if (model === undefined) {
    log('defence: no model for the rows on a real one; give one with --model FILE.gguf');
    return [];
  }
  return threads.flatMap((count) =>
    PLACES.flatMap(({ suffix, ...place }) =>
      Object.entries(CUTS).map(([name, cut]): Group => {
        const options = {
          pair: '135 M',
          model,
          cut,
          threads: count,
          batch: 32,
          seconds,
          precision: 'bfloat16',
          ...place,
        };
        return {
          setting: `bfloat16, SmolLM2-135M, batch 32, ${name}${suffix}`,
          threads: count,
          series: [{ who: 'azeotrope', command: { kind: 'measure', name: 'defence', options } }],
        };
      }),
    ),
  );
}

/** A teacher and a proxy opened from files. Central differences are float32 in every precision. */
async function memoryGroups({ scratch }: BenchContext): Promise<Group[]> {
  const folder = join(scratch, 'defence');
  if (!existsSync(join(folder, 'proxy', 'proxy.json'))) {
    await mkdir(folder, { recursive: true });
    await runCommand({ kind: 'measure', name: 'defence-files', options: { folder } }, 1);
  }
  return (
    [
      ['central', 'float32'],
      ['jvp', 'float32'],
      ['jvp', 'bfloat16'],
    ] as const
  ).map(([estimator, precision]) => {
    const options = { folder, estimator, precision, batch: 4, newTokens: 32 };
    const command = { kind: 'measure' as const, name: 'defence-memory', options };
    return {
      setting: `memory, ${precision === 'float32' ? '' : 'bfloat16, '}${estimator}`,
      threads: 1,
      rounds: 1,
      series: [{ who: 'azeotrope', command }],
    };
  });
}
