/** Where the sampler's graph takes Δ from: what companion models give for each token. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { logSoftmax, multiply, subtract } from '../../engine/graph/ops.js';
import type { TensorType, Value } from '../../engine/graph/types.js';
import type { TensorMap } from '../../engine/runtime/types.js';
import type { Companion } from '../../inference/companions.js';
import type { StepResults } from '../../inference/step-runner.js';
import { movedHeadTensors, movedHeadTypes, movedLogits, movedLogprobs } from '../../inference/tangent-graph.js';
import { invariant } from '../../support/errors.js';

export interface DeltaSource {
  /** Of the proxy's embedding. */
  readonly vocabSize: number;
  /** Tells its graph from that of other sources. */
  readonly variant: string;
  columns(batch: number): Readonly<Record<string, TensorType>>;
  supplied(batch: number): TensorMap;
  /** Δ [B, V]. `isFree`: a constant may be added to all of a row, which spares the normalisation of the proxy's distribution. */
  build(g: GraphBuilder, columns: Readonly<Record<string, Value>>, isFree: boolean): Value;
  /** Writes what stands in columns of its own. */
  fill(columns: TensorMap, row: number): void;
}

/** Δ = d/dt log p(· ; θ + t·g), from where a companion's layers end and how that moves. */
export function derivativeSource(companion: Companion): DeltaSource {
  const { model, direction } = companion;
  const { config } = model;
  return {
    vocabSize: config.vocabSize,
    variant: `jvp/${config.vocabSize}x${config.hiddenSize}/${config.rmsNormEps}`,
    columns: (batch) => ({ ...movedHeadTypes(config, batch) }),
    supplied(batch) {
      invariant(direction !== undefined, 'a companion that gives derivatives has a direction');
      return { ...movedHeadTensors(model, direction, resultsOf(companion, batch)) };
    },
    build(g, columns, isFree) {
      const { stream, gain, head, tangentStream, tangentGain, tangentHead } = columns;
      const source = { stream, gain, head, tangentStream, tangentGain, tangentHead };
      return (isFree ? movedLogits : movedLogprobs)(g, config, source);
    },
    fill: () => {},
  };
}

/**
 * Δ = (log p₊ − log p₋) / span of two companions, the one stepped forward first; up to a constant, which logits alone give, where that is
 * free.
 */
export function differenceSource(
  companions: readonly [Companion, Companion],
  { kind, span }: { kind: string; span: number },
): DeltaSource {
  const { vocabSize } = companions[0].model.config;
  return {
    vocabSize,
    variant: `${kind}/${vocabSize}`,
    columns: (batch) => ({
      forward: matrixType(batch, vocabSize),
      backward: matrixType(batch, vocabSize),
      /** 1 / span of the difference. */
      slope: matrixType(batch, 1),
    }),
    supplied(batch) {
      const [forward, backward] = companions.map((companion) => resultsOf(companion, batch).logits);
      return { forward, backward };
    },
    build(g, { forward, backward, slope }, isFree) {
      const numbers = (logits: Value) => (isFree ? logits : logSoftmax(g, logits));
      return multiply(g, subtract(g, numbers(forward), numbers(backward)), slope);
    },
    fill({ slope }, row) {
      slope.data[row] = 1 / span;
    },
  };
}

const matrixType = (rows: number, width: number): TensorType => ({ dtype: 'float32', shape: [rows, width] });

function resultsOf({ runner }: Companion, batch: number): StepResults {
  invariant(runner !== undefined, 'the companions of a tilt belong to the generator that samples with it');
  return runner.results(batch);
}
