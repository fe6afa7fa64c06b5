import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createProgress, formatProgress } from './progress.js';

const sampling = { label: 'sampling', total: 50, unit: 'prompts' };

test('rate and time left follow from what this run did, not an earlier one', () => {
  const fresh = formatProgress({ ...sampling, numDone: 10, elapsedMs: 5000 });
  assert.equal(fresh, 'sampling: 10/50 prompts, 2.0 prompts/s, 20 s left');
  const resumed = formatProgress({ ...sampling, initial: 30, numDone: 40, elapsedMs: 5000 });
  assert.equal(resumed, 'sampling: 40/50 prompts, 2.0 prompts/s, 5 s left');
  assert.equal(formatProgress({ ...sampling, initial: 30, numDone: 30, elapsedMs: 9 }), 'sampling: 30/50 prompts');
});

test('slow work is told in seconds each, long work in minutes and hours, finished work in all', () => {
  const slow = formatProgress({ ...sampling, numDone: 1, elapsedMs: 30_000 });
  assert.equal(slow, 'sampling: 1/50 prompts, 30 s each, 25 min left');
  const long = formatProgress({ ...sampling, total: 1001, numDone: 1, elapsedMs: 30_000 });
  assert.equal(long, 'sampling: 1/1001 prompts, 30 s each, 8 h 20 min left');
  const done = formatProgress({ ...sampling, numDone: 50, elapsedMs: 100_000 });
  assert.equal(done, 'sampling: 50/50 prompts, 2.0 s each, 2 min in all');
});

test('of work whose parts take unequal times the share is told, without a rate', () => {
  const run = { label: 'run', total: 100, unit: '%', initial: 20 };
  assert.equal(formatProgress({ ...run, numDone: 40.9, elapsedMs: 20_000 }), 'run: 40 %, 57 s left');
  assert.equal(formatProgress({ ...run, numDone: 100, elapsedMs: 20_000 }), 'run: 100 %, 20 s in all');
});

function capture(isTTY: boolean) {
  const stream = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY });
  return { stream, text: () => stream.read() ?? '' };
}

test('without a terminal a line comes at most every 5 seconds, and one at the end with the note', (context) => {
  let nowMs = 0;
  context.mock.method(performance, 'now', () => nowMs);
  const { stream, text } = capture(false);
  const progress = createProgress(sampling, stream);
  for (let step = 0; step < 40; step++) {
    nowMs += 300;
    progress.advance(1, `loss ${step}`);
  }
  progress.stop();
  progress.stop();
  const lines = text().trim().split('\n');
  assert.deepEqual(
    lines.map((line: string) => line.split('/')[0]),
    ['sampling: 17', 'sampling: 34', 'sampling: 40'],
  );
  assert.match(lines[2], /, loss 39$/);
});

test('on a terminal a bar is drawn that stays at its last state', () => {
  const { stream, text } = capture(true);
  const progress = createProgress(sampling, Object.assign(stream, { cursorTo() {}, clearLine() {} }));
  progress.advance(25);
  progress.stop();
  progress.stop();
  assert.match(text(), /█{10}░{10} sampling: 25\/50 prompts/);
});

test('a bar that stops leaves the lines that were written since it was drawn', () => {
  const { stream, text } = capture(true);
  const progress = createProgress(sampling, Object.assign(stream, { cursorTo() {}, clearLine() {} }));
  stream.write('\nStopping\n');
  progress.stop();
  assert.ok(!text().includes('\x1B8'), 'the cursor goes back to where the bar was');
});
