import { pythonPeer } from '../harness/peers.js';
import type { BenchCase, BenchContext, Group } from '../harness/types.js';
import { limitsCommand } from './limits.js';

const HALF_PEER = 'transformers bfloat16';
/** The same program training all weights, beside which adapters are to gain time. */
const ALL_WEIGHTS = 'azeotrope, all weights';
const RANK = 16;

/** Steps of SmolLM2-135M's shape, 4 rows of 256 tokens: all weights, or adapters on every linear layer (the peer: peft). */
function steps({ seconds, peers: { python } }: BenchContext, threads: number, rank: number | undefined): Group {
  const options = { shape: 's', threads, seconds, precision: 'bfloat16' };
  const adapters = rank === undefined ? {} : { rank };
  const measured = (who: string, extra: object) =>
    ({ who, command: { kind: 'measure', name: 'train-step', options: { ...options, ...extra } } }) as const;
  const peer = (who: string, dtype: string) => ({
    who,
    command: pythonPeer(python!, 'transformers_train.py', { config: 's', threads, seconds, dtype, ...adapters }),
  });
  return {
    setting: `${rank === undefined ? 'all weights' : `LoRA rank ${rank}`}, SmolLM2-135M, 4×256`,
    threads,
    series: [
      { who: 'limits', command: limitsCommand(threads) },
      measured('azeotrope', adapters),
      ...(rank === undefined ? [] : [measured(ALL_WEIGHTS, {})]),
      ...(python === undefined ? [] : [peer(HALF_PEER, 'autocast'), peer('transformers', 'float32')]),
    ],
  };
}

function learning({ model, wordProblems, threads, quick, log }: BenchContext): Group[] {
  if (model === undefined || wordProblems === undefined) {
    log('finetune: what is learned needs a model, --model FILE.gguf, and SVAMP rows, --problems svamp.jsonl');
    return [];
  }
  const count = Math.max(...threads);
  const sizes = quick
    ? { numTraining: 32, numHeldOut: 16, epochs: 1 }
    : { numTraining: 500, numHeldOut: 100, epochs: 2 };
  const options = { model, problems: wordProblems, threads: count, ...sizes };
  return [
    {
      setting: `what is learned: LoRA rank 16, ${sizes.numTraining} rows, ${sizes.epochs} epochs`,
      threads: count,
      rounds: 1,
      series: [{ who: 'azeotrope', command: { kind: 'measure', name: 'finetune', options } }],
    },
  ];
}

export const finetune: BenchCase = {
  name: 'finetune',
  summary:
    "training steps of SmolLM2-135M's shape in bfloat16 beside transformers (bfloat16 by autocast, float32; peft); what LoRA on 500 word problems teaches",
  isLong: true,
  metrics: [
    {
      quantity: 'training',
      unit: 'tokens/s',
      key: 'tokensPerSecond',
      peers: {
        [HALF_PEER]: 'tokensPerSecondMedian',
        transformers: 'tokensPerSecondMedian',
        [ALL_WEIGHTS]: 'tokensPerSecond',
      },
      shares: { products: 'gflops' },
    },
    {
      quantity: 'peak memory',
      unit: 'MB',
      scale: 1e-6,
      key: 'peakRssBytes',
      peers: { [HALF_PEER]: 'peakRssBytes', transformers: 'peakRssBytes', [ALL_WEIGHTS]: 'peakRssBytes' },
    },
    { quantity: 'held-out loss before', unit: 'nats/token', key: 'lossNatsBefore' },
    { quantity: 'held-out loss after', unit: 'nats/token', key: 'lossNatsAfter' },
    { quantity: 'held-out answers right before', unit: 'fraction', key: 'correctFractionBefore' },
    { quantity: 'held-out answers right after', unit: 'fraction', key: 'correctFractionAfter' },
    { quantity: 'training of the job', unit: 's', key: 'trainSeconds' },
    { quantity: 'whole job', unit: 's', key: 'jobSeconds' },
  ],
  groups: (context) => [
    ...context.threads.flatMap((threads) => [steps(context, threads, undefined), steps(context, threads, RANK)]),
    ...learning(context),
  ],
};
