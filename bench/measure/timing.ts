import { median } from '../../src/support/statistics.js';

/** Durations in milliseconds of `work`, run for `seconds` and at least `least` times; the warm-up is not among them. */
export async function timeRepeatedly(
  work: () => Promise<unknown>,
  { seconds, least = 3, warmUp = 2 }: { seconds: number; least?: number; warmUp?: number },
): Promise<number[]> {
  for (let index = 0; index < warmUp; index++) await work();
  const durations: number[] = [];
  const begin = performance.now();
  while (durations.length < least || performance.now() - begin < seconds * 1000) {
    const start = performance.now();
    await work();
    durations.push(performance.now() - start);
  }
  return durations;
}

export const medianAndBest = (durations: readonly number[]) => ({
  medianMs: median(durations),
  bestMs: Math.min(...durations),
});
