/** Words that are preferred or forbidden, whatever the model. */
import { add } from '../../engine/graph/ops.js';
import { EXCLUDED, type LogitsProcessor } from '../../inference/samplers/processor.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { ConfigError } from '../../support/errors.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import { tokenizerOf } from './context.js';

/** Adds nats to the logits of words, within the support that truncation leaves. */
export function preferWords(opened: OpenedModel, words: readonly string[], nats: number): LogitsProcessor {
  return addToWords(opened, words, { nats, name: 'preferWords', position: 'afterTruncation' });
}

/** Never says these words. */
export function forbidWords(opened: OpenedModel, words: readonly string[]): LogitsProcessor {
  return addToWords(opened, words, { nats: EXCLUDED, name: 'forbidWords', position: 'beforeTemperature' });
}

function addToWords(
  opened: OpenedModel,
  words: readonly string[],
  { nats, name, position }: { nats: number; name: string; position: NonNullable<LogitsProcessor['position']> },
): LogitsProcessor {
  const tokenizer = tokenizerOf(opened);
  const added = new Float32Array(opened.model.config.vocabSize);
  for (const word of words) for (const id of idsOf(tokenizer, word)) added[id] = nats;
  return {
    name,
    variant: `${words.join()}/${nats}`,
    position,
    settings: { words, nats },
    isNeeded: () => true,
    size: () => 0,
    columns: () => ({}),
    build: (g, logits) => ({ logits: add(g, logits, g.constant('float32', [1, added.length], added)) }),
    fill: () => undefined,
  };
}

/** The tokens that are this word, at the start of a text and inside it. Errors: ConfigError where it is none. */
function idsOf(tokenizer: Tokenizer, word: string): number[] {
  const spellings = [word, ` ${word}`].map((text) => {
    try {
      return tokenizer.encode(text, { addSpecialTokens: false });
    } catch {
      return []; // a vocabulary of whole words that has not this one
    }
  });
  const ids = [...new Set(spellings.filter(({ length }) => length === 1).flat())];
  if (ids.length === 0) throw new ConfigError(`The word '${word}' is not one token of the model. Choose another.`);
  return ids;
}
