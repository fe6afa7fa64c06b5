import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gradients } from '../engine/autodiff/reverse.js';
import { createGraphBuilder, type GraphBuilder } from '../engine/graph/builder.js';
import { attention, reduceSum } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import { type Array64, array64, evaluate } from '../engine/reference.fixture.js';
import type { TransformerConfig } from './config.js';
import { attentionScale, declareWeights, decoderHidden, SCALAR_HEAD, scalarHead } from './decoder.js';
import { parameterSpecs } from './parameters.js';
import { rotaryFrequencies, rotaryTables } from './rotary-tables.js';

const config: TransformerConfig = {
  family: 'qwen3',
  vocabSize: 11,
  hiddenSize: 6,
  intermediateSize: 8,
  numLayers: 1,
  numHeads: 2,
  numKvHeads: 1,
  headSize: 4,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  ropeScaling: { kind: 'none' },
  maxPositions: 32,
  qkvBias: true,
  outputBias: false,
  mlpBias: false,
  qkNorm: true,
  tiedHead: true,
  bosTokenId: undefined,
  eosTokenIds: [],
  padTokenId: undefined,
  initializerRange: 0.02,
};
const [batch, time] = [2, 3];

function buildScores(g: GraphBuilder): { scores: Value; head: Value; hidden: Value } {
  const weights = declareWeights(g, config);
  const head = g.input(SCALAR_HEAD, 'float32', [1, config.hiddenSize]);
  weights.set(SCALAR_HEAD, head);
  const half = config.headSize / 2;
  const input = {
    tokens: g.input('tokens', 'int64', [batch * time]),
    positions: g.input('positions', 'int64', [batch, time]),
    cos: g.input('cos', 'float32', [time, half]),
    sin: g.input('sin', 'float32', [time, half]),
  };
  const scale = attentionScale(config);
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: { attend: (_, { q, k, v }) => attention(g, q, k, v, scale) },
  });
  return { scores: scalarHead(g, weights, hidden, g.input('lastTokens', 'int64', [batch])), head, hidden };
}

/** Weights, two rows of 3 and 2 tokens (the second padded) and the flat index of each row's last token. */
function inputs(pad: number): Record<string, Array64> {
  const { cos, sin } = rotaryTables(config, time);
  const table = (values: Float32Array) => array64([time, config.headSize / 2], (index) => values[index]);
  const given = (values: number[], shape: number[]) => array64(shape, (index) => values[index]);
  const weights = parameterSpecs(config).map(({ name, shape }, at) => [
    name,
    array64(shape, (index) => Math.sin(1 + index * 0.7 + at)),
  ]);
  return {
    ...Object.fromEntries(weights),
    [SCALAR_HEAD]: array64([1, config.hiddenSize], (index) => index - 2),
    tokens: given([3, 1, 4, 1, 5, pad], [batch * time]),
    positions: given([0, 1, 2, 0, 1, 2], [batch, time]),
    lastTokens: given([2, 4], [batch]),
    cos: table(cos),
    sin: table(sin),
  };
}

describe('scalar head', () => {
  test('scores each row at its last token, whatever the padding behind it', () => {
    const g = createGraphBuilder();
    const { scores, hidden } = buildScores(g);
    g.output('scores', scores);
    g.output('hidden', hidden);
    const graph = g.finish();
    const result = evaluate(graph, inputs(9));
    const expected = [2, 4].map((row) =>
      Array.from({ length: 6 }, (_, c) => result.hidden.data[row * 6 + c] * (c - 2)).reduce((a, b) => a + b, 0),
    );
    for (const [row, value] of expected.entries()) assert.ok(Math.abs(result.scores.data[row] - value) < 1e-12);
    assert.deepEqual([...evaluate(graph, inputs(0)).scores.data], [...result.scores.data]);
  });

  test('passes its gradient to the head and through the layers', () => {
    const g = createGraphBuilder();
    const { scores, head } = buildScores(g);
    const loss = reduceSum(g, scores, [0, 1]);
    const [dHead] = gradients(g, loss, [head]);
    g.output('loss', loss);
    g.output('dHead', dHead);
    const graph = g.finish();
    const at = inputs(0);
    const { dHead: actual } = evaluate(graph, at);
    for (let c = 0; c < config.hiddenSize; c++) {
      const moved = (step: number) =>
        evaluate(graph, {
          ...at,
          [SCALAR_HEAD]: array64([1, 6], (index) => index - 2 + (index === c ? step : 0)),
        }).loss.data[0];
      assert.ok(Math.abs((moved(1e-4) - moved(-1e-4)) / 2e-4 - actual.data[c]) < 1e-9);
    }
  });
});

describe('rotary frequencies', () => {
  const scaled = {
    kind: 'llama3',
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalMaxPositions: 8192,
  } as const;
  const llama31 = { ...config, headSize: 128, ropeTheta: 500_000 };

  test('without scaling are theta^(−2i/D)', () => {
    const frequencies = rotaryFrequencies(llama31);
    assert.equal(frequencies[0], 1);
    assert.ok(Math.abs(frequencies[32] - 1 / Math.sqrt(500_000)) < 1e-15);
  });

  test('linear scaling divides them all', () => {
    const plain = rotaryFrequencies(llama31);
    rotaryFrequencies({ ...llama31, ropeScaling: { kind: 'linear', factor: 4 } }).forEach((value, pair) => {
      assert.equal(value, plain[pair] / 4);
    });
  });

  test("Llama 3's scaling keeps short wavelengths, divides long ones and never leaves that range between", () => {
    const plain = rotaryFrequencies(llama31);
    const result = rotaryFrequencies({ ...llama31, ropeScaling: scaled });
    let numBetween = 0;
    result.forEach((value, pair) => {
      const wavelength = (2 * Math.PI) / plain[pair];
      if (wavelength < 8192 / 4) assert.equal(value, plain[pair]);
      else if (wavelength > 8192) assert.equal(value, plain[pair] / 8);
      else {
        numBetween++;
        assert.ok(value < plain[pair] && value > plain[pair] / 8);
      }
      if (pair > 0) assert.ok(value < result[pair - 1]);
    });
    assert.ok(numBetween >= 5);
  });
});
