import { SingleBar } from 'cli-progress';

export type ProgressOptions = {
  /** What is being done: `sampling`. */
  readonly label: string;
  readonly total: number;
  /** What is counted, in the plural: `prompts`. `%`: parts of a hundred, of work whose parts take unequal times. */
  readonly unit: string;
  /** How many were done by an earlier run; they do not count for the rate. */
  readonly initial?: number;
};

export type Progress = {
  /** Counts more as done. A note (`loss 2.31`) replaces the one before. */
  advance(count: number, note?: string): void;
  /** Ends the display, leaving its last state; a second call does nothing. */
  stop(): void;
};

/** The part of a terminal or file that a progress display needs. */
export type ProgressStream = NodeJS.WritableStream & { readonly isTTY?: boolean };

const LINE_INTERVAL_MS = 5000;

/**
 * Shows how far a long work is, with rate and time left: a bar on a terminal, elsewhere a line at most every 5 seconds and
 * one at the end.
 */
export function createProgress(options: ProgressOptions, stream: ProgressStream): Progress {
  const startMs = performance.now();
  let numDone = options.initial ?? 0;
  let note = '';
  const text = () =>
    formatProgress({ ...options, numDone, elapsedMs: performance.now() - startMs }) + (note ? `, ${note}` : '');

  if (stream.isTTY) {
    const bar = new SingleBar({
      format: (_, { progress }) => `${'█'.repeat(Math.round(progress * 20)).padEnd(20, '░')} ${text()}`,
      stream: withoutCursorRestore(stream),
      fps: 10,
    });
    bar.start(options.total, numDone);
    const advance = (count: number, newNote = note) => {
      numDone += count;
      note = newNote;
      bar.update(numDone);
    };
    return { advance, stop: () => bar.isActive && bar.stop() };
  }

  let lastLineMs = startMs;
  let numShown = -1;
  const show = () => {
    lastLineMs = performance.now();
    numShown = numDone;
    stream.write(`${text()}\n`);
  };
  const advance = (count: number, newNote = note) => {
    numDone += count;
    note = newNote;
    if (performance.now() - lastLineMs >= LINE_INTERVAL_MS) show();
  };
  return { advance, stop: () => numShown !== numDone && show() };
}

/**
 * The bar goes back to where it was first drawn when it stops, over the lines that were written since (`Stopping …`, notes): it is
 * kept from it.
 */
function withoutCursorRestore(stream: ProgressStream): ProgressStream {
  const write = (text: string) => text === '\x1B8' || stream.write(text);
  return Object.create(stream, { write: { value: write } });
}

/** `sampling: 12/50 prompts, 3.1 prompts/s, 12 s left`. */
export function formatProgress(state: ProgressOptions & { numDone: number; elapsedMs: number }): string {
  const { label, total, unit, numDone, elapsedMs } = state;
  const numNew = numDone - (state.initial ?? 0);
  const isShare = unit === '%';
  const base = isShare ? `${label}: ${Math.floor(numDone)} %` : `${label}: ${numDone}/${total} ${unit}`;
  if (numNew <= 0 || elapsedMs <= 0) return base;
  const perSecond = (numNew / elapsedMs) * 1000;
  const rate = perSecond >= 1 ? `${roundRate(perSecond)} ${unit}/s` : `${roundRate(1 / perSecond)} s each`;
  const time =
    numDone >= total
      ? `${formatSeconds(elapsedMs / 1000)} in all`
      : `${formatSeconds((total - numDone) / perSecond)} left`;
  return isShare ? `${base}, ${time}` : `${base}, ${rate}, ${time}`;
}

function roundRate(value: number): string {
  return value >= 100 ? Math.round(value).toString() : value.toPrecision(2);
}

function formatSeconds(seconds: number): string {
  if (seconds < 99.5) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
