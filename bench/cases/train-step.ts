import { pythonPeer } from '../harness/peers.js';
import type { BenchCase, BenchContext, Group } from '../harness/types.js';
import { limitsCommand } from './limits.js';

const SETTINGS = {
  a: '0.9 M (d128 L4 V512, 32×128)',
  b: '9 M (d320 L6 V4096, 16×128)',
  c: '28 M (d512 L8 V8192, 8×256)',
} as const;
type ShapeName = keyof typeof SETTINGS;

/** In float32 beside PyTorch's float32; in bfloat16 beside both of PyTorch's. */
const RUNS: readonly (readonly ['float32' | 'bfloat16', ShapeName])[] = [
  ['float32', 'a'],
  ['float32', 'b'],
  ['bfloat16', 'a'],
  ['bfloat16', 'b'],
  ['bfloat16', 'c'],
];

const HALF = 'PyTorch bfloat16';
/** By torch.compile, which needs a C++ compiler; left out where there is none. */
const COMPILED = 'PyTorch bfloat16, compiled';

function group(
  { seconds, peers: { python } }: BenchContext,
  threads: number,
  [precision, shape]: (typeof RUNS)[number],
): Group {
  const flags = { config: shape, threads, seconds };
  const peers =
    python === undefined
      ? []
      : [
          { who: 'PyTorch', command: pythonPeer(python, 'pytorch_train.py', flags) },
          ...(precision === 'float32'
            ? []
            : [
                { who: HALF, command: pythonPeer(python, 'pytorch_train.py', { ...flags, bf16: true }) },
                {
                  who: COMPILED,
                  command: pythonPeer(python, 'pytorch_train.py', { ...flags, bf16: true, compile: true }),
                },
              ]),
        ];
  const options = { shape, threads, seconds, precision };
  return {
    setting: precision === 'float32' ? SETTINGS[shape] : `bfloat16, ${SETTINGS[shape]}`,
    threads,
    series: [
      { who: 'limits', command: limitsCommand(threads) },
      { who: 'azeotrope', command: { kind: 'measure', name: 'train-step', options } },
      ...peers,
    ],
  };
}

const STOCK = 'ONNX Runtime';
const PYTORCH_AVX2 = 'PyTorch, AVX2';

/**
 * Float32 with the kernels held to AVX2, beside the runtime's own nodes and PyTorch held to AVX2 too. The runtime's products cannot be
 * held: in `azeotrope` and `ONNX Runtime` they use what the machine has.
 */
function forcedGroup({ seconds, peers: { python } }: BenchContext, threads: number, shape: ShapeName): Group {
  const own = (level: string) =>
    ({
      kind: 'measure',
      name: 'train-step',
      options: { shape, threads, seconds, precision: 'float32' },
      env: { AZEOTROPE_KERNELS: level },
    }) as const;
  const env = { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2', MKL_ENABLE_INSTRUCTIONS: 'AVX2' };
  return {
    setting: `kernels held to AVX2, ${SETTINGS[shape]}`,
    threads,
    series: [
      { who: 'limits', command: limitsCommand(threads) },
      { who: 'azeotrope', command: own('avx2') },
      { who: STOCK, command: own('none') },
      ...(python === undefined
        ? []
        : [
            {
              who: PYTORCH_AVX2,
              command: { ...pythonPeer(python, 'pytorch_train.py', { config: shape, threads, seconds }), env },
            },
          ]),
    ],
  };
}

export const trainStep: BenchCase = {
  name: 'train-step',
  summary:
    'forward, backward, clipping and AdamW on one batch, beside PyTorch (eager; float32, and bfloat16 by autocast, this compiled too)',
  metrics: [
    {
      quantity: 'training',
      unit: 'tokens/s',
      key: 'tokensPerSecond',
      peers: {
        PyTorch: 'tokensPerSecondMedian',
        [HALF]: 'tokensPerSecondMedian',
        [COMPILED]: 'tokensPerSecondMedian',
        [STOCK]: 'tokensPerSecond',
        [PYTORCH_AVX2]: 'tokensPerSecondMedian',
      },
      shares: { products: 'gflops' },
    },
    {
      quantity: 'peak memory',
      unit: 'MB',
      scale: 1e-6,
      key: 'peakRssBytes',
      peers: { PyTorch: 'peakRssBytes', [HALF]: 'peakRssBytes' },
    },
    { quantity: 'start to end of the first step', unit: 'ms', key: 'firstStepMs' },
  ],
  groups: (context) =>
    context.threads.flatMap((threads) => [
      ...RUNS.map((run) => group(context, threads, run)),
      ...(['a', 'b', 'c'] as const).map((shape) => forcedGroup(context, threads, shape)),
    ]),
};
