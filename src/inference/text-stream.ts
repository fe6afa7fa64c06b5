/** The text of a response while its ids arrive. */
import { createDetokenizer } from '../tokenizer/detokenizer.js';
import { createStopMatcher } from '../tokenizer/stop-matcher.js';
import type { Tokenizer } from '../tokenizer/types.js';

export interface TextStream {
  /** All text given out so far. */
  readonly text: string;
  /** Whether a stop string was found; it and what follows are no part of the text. */
  readonly isStopped: boolean;
  /** Takes the next id, gives the text that is now certain. */
  push(id: number): string;
  /** Ends the text, gives what was withheld. */
  end(): string;
}

/** Text of the ids without special tokens, up to the first of the stop strings. */
export function createTextStream(tokenizer: Tokenizer, stops: readonly string[]): TextStream {
  const detokenizer = createDetokenizer(tokenizer, { skipSpecialTokens: true });
  const matcher = createStopMatcher(stops);
  let text = '';
  const give = (piece: string): string => {
    text += piece;
    return piece;
  };
  return {
    get text() {
      return text;
    },
    get isStopped() {
      return matcher.stoppedBy !== undefined;
    },
    push: (id) => give(matcher.push(detokenizer.push(id))),
    end: () => give(matcher.push(detokenizer.flush()) + matcher.flush()),
  };
}
