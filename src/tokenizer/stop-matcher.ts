import { ConfigError } from '../support/errors.js';

/** Text in, the part of it that precedes any stop string out. */
export interface StopMatcher {
  /** Text that is safe to show. After a match: '' for ever. */
  push(text: string): string;
  /** The text withheld because it might have begun a stop string; '' after a match. */
  flush(): string;
  /** The stop string that was found, if one was. */
  readonly stoppedBy: string | undefined;
}

/**
 * Finds stop strings in text that arrives in pieces. What could still become a stop string is withheld; as soon as one is
 * complete the text before it is given out and everything else dropped. Of several that end at one place the longest counts.
 * The result does not depend on how the text is cut into pieces. Throws ConfigError for an empty stop string.
 */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  if (stops.some((stop) => typeof stop !== 'string' || stop === '')) {
    throw new ConfigError('stop: a stop string must have at least one character.');
  }
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = '';
  let stoppedBy: string | undefined;
  return {
    get stoppedBy() {
      return stoppedBy;
    },
    push(text) {
      if (stoppedBy !== undefined) return '';
      held += text;
      const match = firstToEnd(held, stops);
      stoppedBy = match?.stop;
      const cut = match?.start ?? startOfPossibleStop(held, stops, longest);
      const safe = held.slice(0, cut);
      held = match === undefined ? held.slice(cut) : '';
      return safe;
    },
    flush() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

function firstToEnd(text: string, stops: readonly string[]): { stop: string; start: number } | undefined {
  let best: { stop: string; start: number } | undefined;
  for (const stop of stops) {
    const start = text.indexOf(stop);
    if (start < 0) continue;
    const later = best === undefined ? -1 : start + stop.length - (best.start + best.stop.length);
    if (later < 0 || (later === 0 && start < (best?.start ?? 0))) best = { stop, start };
  }
  return best;
}

/** Where the longest end of the text begins that is the beginning of a stop string; the text's length if none is. */
function startOfPossibleStop(text: string, stops: readonly string[], longest: number): number {
  for (let start = Math.max(0, text.length - longest + 1); start < text.length; start++) {
    const end = text.slice(start);
    if (stops.some((stop) => stop.startsWith(end))) return start;
  }
  return text.length;
}
