/** The model shapes of the benchmarks; bench/peers/pytorch_train.py has the same. */
import type { TransformerConfig } from '../../src/model/config.js';
import { countParameters } from '../../src/model/parameters.js';

export interface Shape {
  readonly config: TransformerConfig;
  /** Rows and tokens a row of its training batch. */
  readonly batch: number;
  readonly time: number;
}

interface Sizes {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly mlp: number;
  readonly vocab: number;
}

const LONGEST_CONTEXT = 4096;

/** A Llama decoder with a tied head that nothing ends. */
function decoderConfig(sizes: Sizes): TransformerConfig {
  return {
    family: 'llama',
    vocabSize: sizes.vocab,
    hiddenSize: sizes.width,
    intermediateSize: sizes.mlp,
    numLayers: sizes.layers,
    numHeads: sizes.heads,
    numKvHeads: sizes.kvHeads,
    headSize: sizes.headSize,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    ropeScaling: { kind: 'none' },
    maxPositions: LONGEST_CONTEXT,
    qkvBias: false,
    outputBias: false,
    mlpBias: false,
    qkNorm: false,
    tiedHead: true,
    bosTokenId: undefined,
    eosTokenIds: [],
    padTokenId: undefined,
    initializerRange: 0.02,
  };
}

const SIZES = {
  a: { width: 128, layers: 4, heads: 4, kvHeads: 4, headSize: 32, mlp: 384, vocab: 512 },
  b: { width: 320, layers: 6, heads: 5, kvHeads: 5, headSize: 64, mlp: 896, vocab: 4096 },
  c: { width: 512, layers: 8, heads: 8, kvHeads: 4, headSize: 64, mlp: 1408, vocab: 8192 },
  s: { width: 576, layers: 30, heads: 9, kvHeads: 3, headSize: 64, mlp: 1536, vocab: 49152 },
} as const satisfies Record<string, Sizes>;

export type ShapeName = keyof typeof SIZES;

const BATCHES: Readonly<Record<ShapeName, readonly [batch: number, time: number]>> = {
  a: [32, 128],
  b: [16, 128],
  c: [8, 256],
  s: [4, 256],
};

export function shapeOf(name: ShapeName): Shape {
  const [batch, time] = BATCHES[name];
  return { config: decoderConfig(SIZES[name]), batch, time };
}

const smolLm2 = (layers: number): TransformerConfig => decoderConfig({ ...SIZES.s, layers });

/**
 * Teachers, each with a proxy of 3/7 of its compute and its vocabulary. Together those of 9 M parameters are about as large as a
 * processor's cache, so that a second model may push out the first; those of SmolLM2-135M's shape are far beyond it, as real models are.
 */
export const defencePairs = {
  '9 M': {
    teacher: decoderConfig(SIZES.b),
    proxy: decoderConfig({ width: 224, layers: 5, heads: 7, kvHeads: 7, headSize: 32, mlp: 576, vocab: SIZES.b.vocab }),
  },
  '135 M': { teacher: smolLm2(30), proxy: smolLm2(8) },
} as const;

export type DefencePair = keyof typeof defencePairs;

/** Large enough that weights, not the program, are what memory is spent on: 185 M and 96 M parameters. */
export const memoryShapes = {
  teacher: decoderConfig({ width: 1280, layers: 10, heads: 20, kvHeads: 4, headSize: 64, mlp: 3520, vocab: 8192 }),
  proxy: decoderConfig({ width: 960, layers: 9, heads: 15, kvHeads: 5, headSize: 64, mlp: 2560, vocab: 8192 }),
} as const;

/** The same shape with another vocabulary. */
export function withVocabulary(name: ShapeName, vocab: number): TransformerConfig {
  return decoderConfig({ ...SIZES[name], vocab });
}

/** The same of a token of a prompt, which only the last one's head follows. */
export function promptFlopPerToken(config: TransformerConfig, context: number): number {
  return flopPerToken(config, context) - 2 * config.vocabSize * config.hiddenSize;
}

/** Floating-point operations of the products a token needs, forward: 2 for each weight, and for each layer's T scores and T values. */
export function flopPerToken(config: TransformerConfig, context: number): number {
  const { numLayers, numHeads, headSize } = config;
  return 2 * countParameters(config) + 4 * numLayers * numHeads * headSize * context;
}
