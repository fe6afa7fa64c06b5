/** A small discriminator without attention: filters over windows of words, the strongest answer of each. */
import type { Compiler } from '../../engine/compiler.js';
import {
  concat,
  fill,
  gatherRows,
  linear,
  maximum,
  multiply,
  reduceMax,
  reshape,
  slice,
} from '../../engine/graph/ops.js';
import type { Tensor } from '../../engine/runtime/types.js';
import { SCALAR_HEAD } from '../../model/decoder.js';
import { fillTokens } from '../../training/batches.js';
import type { Discriminator } from './discriminator.js';

/** Lengths of the windows, in tokens. */
const WINDOWS = [2, 3, 4, 5];
const EMBEDDING = 'embedding.weight';

/**
 * Per window length w: relu(filter · w neighbouring embeddings + bias), maximum over the windows that end before the row does; one
 * score of all maxima. Embeddings and filters are `width` wide.
 * @see Kim 2014, arXiv 1408.5882; as a discriminator: SeqGAN, arXiv 1609.05473
 */
export function createConvolutionalDiscriminator(
  compiler: Compiler,
  {
    vocabSize,
    width,
    maxLength,
    random,
  }: {
    vocabSize: number;
    width: number;
    maxLength: number;
    random: { normal(): number };
  },
): Discriminator {
  const { runtime } = compiler;
  const parameters = new Map<string, Tensor<'float32'>>();
  const add = (name: string, shape: readonly number[], deviation: number) => {
    const tensor = runtime.tensor('float32', shape);
    for (let index = 0; index < tensor.data.length; index++) tensor.data[index] = deviation * random.normal();
    parameters.set(name, tensor);
  };
  add(EMBEDDING, [vocabSize, width], 0.1);
  for (const window of WINDOWS) {
    add(`filters.${window}.weight`, [width, window * width], Math.sqrt(2 / (window * width)));
    add(`filters.${window}.bias`, [width], 0);
  }
  add(SCALAR_HEAD, [1, WINDOWS.length * width], 0.02);
  return {
    compiler,
    key: `convolutional/${vocabSize}/${width}`,
    parameters,
    featureWidth: WINDOWS.length * width,
    maxLength,
    tensors: () => ({}),
    inputs: ({ batch, time }) => ({
      tokens: { dtype: 'int64', shape: [batch * time] },
      mask: { dtype: 'float32', shape: [batch, time, 1] },
    }),
    fill(rows, part, arrays) {
      const { tokens, mask } = arrays as { tokens: BigInt64Array; mask: Float32Array };
      fillTokens(rows, part, tokens);
      mask.fill(0);
      part.rows.forEach((row, at) => {
        mask.fill(1, at * part.time, at * part.time + rows[row].tokens.length);
      });
    },
    build(g, { batch, time }, weights) {
      const tokens = g.input('tokens', 'int64', [batch * time]);
      const mask = g.input('mask', 'float32', [batch, time, 1]);
      const embedded = gatherRows(g, weights.get(EMBEDDING)!, tokens); // [B·T, E]
      const words = reshape(g, embedded, [batch, time, width]);
      const features = WINDOWS.map((window) => {
        const count = time - window + 1;
        const neighbours = Array.from({ length: window }, (_, start) =>
          slice(g, words, { axis: 1, start, end: start + count }),
        );
        const flat = reshape(g, concat(g, neighbours, 2), [batch * count, window * width]);
        const answers = linear(
          g,
          flat,
          weights.get(`filters.${window}.weight`)!,
          weights.get(`filters.${window}.bias`)!,
        );
        const rectified = reshape(g, maximum(g, answers, fill(g, [], 0)), [batch, count, width]);
        // Answers are at least 0, so 0 hides the windows that reach beyond the row.
        const within = slice(g, mask, { axis: 1, start: window - 1, end: time });
        return reduceMax(g, multiply(g, rectified, within), [1]);
      });
      return { embedded, features: concat(g, features, 1) };
    },
    dispose() {
      for (const tensor of parameters.values()) tensor.dispose();
    },
  };
}
