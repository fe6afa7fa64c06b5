import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { AzeotropeError, BackendError } from '../support/errors.js';
import { type ExecuteOptions, executeStages } from './execute.js';
import { type AnyStage, defineStage } from './stage.js';
import type { Worker } from './worker-pool.js';

/** A stage that is only a name and what it needs. */
function stage(label: string, needs: readonly AnyStage[] = [], kind: 'model' | 'cost' = 'model'): AnyStage {
  return defineStage({
    kind,
    label,
    inputs: { request: { role: 'teacher', seed: 0, kind: label, teacherSeed: 0 }, recipe: null },
    models: {},
    needs: Object.fromEntries(needs.map(({ id }, index) => [String(index), id])),
    taskIdentity: null,
    precision: 'float32',
    work: {},
  } as never) as AnyStage;
}

interface Behaviour {
  /** What happens on a stage, by its label; default: it takes a moment and is done. */
  readonly on?: (label: string, isStopped: () => boolean) => Promise<boolean>;
}

/** Workers in this process; `log` gets `+label` and `-label`. */
function setUp(stages: readonly AnyStage[], { on }: Behaviour = {}) {
  const log: string[] = [];
  const workers: { isDisposed: boolean }[] = [];
  const startWorker = (): Worker => {
    const state = { isDisposed: false, isStopped: false };
    workers.push(state);
    return {
      pid: workers.length,
      ready: Promise.resolve({ engineVersion: '', engineKind: '' }),
      async run({ label }) {
        log.push(`+${label}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
        const isDone = (await on?.(label, () => state.isStopped)) ?? true;
        log.push(`-${label}`);
        return isDone;
      },
      stop: () => {
        state.isStopped = true;
      },
      dispose: () => {
        state.isDisposed = true;
      },
    };
  };
  const execute = (options: Partial<ExecuteOptions> = {}) =>
    executeStages(stages, {
      isDone: () => false,
      seconds: new Map(stages.map(({ id }) => [id, 1])),
      startWorker,
      numWorkers: 2,
      signal: new AbortController().signal,
      ...options,
    });
  return { log, workers, execute };
}

const untilStopped = async (isStopped: () => boolean): Promise<false> => {
  while (!isStopped()) await new Promise((resolve) => setTimeout(resolve, 1));
  return false;
};

describe('stages', () => {
  test('all run once, none before what it needs is done, whatever needs what', async () => {
    const shapes = fc.array(fc.array(fc.nat(20), { maxLength: 3 }), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(shapes, fc.integer({ min: 1, max: 4 }), async (shape, numWorkers) => {
        const stages: AnyStage[] = [];
        for (const [index, above] of shape.entries()) {
          const needs = [...new Set(above.filter((each) => each < index))].map((each) => stages[each]);
          stages.push(stage(`s${index}`, needs));
        }
        const { log, execute, workers } = setUp(stages);
        await execute({ numWorkers });
        assert.deepEqual([...log].sort(), stages.flatMap(({ label }) => [`+${label}`, `-${label}`]).sort());
        for (const { label, needs } of stages) {
          for (const id of Object.values(needs)) {
            const above = stages.find((each) => each.id === id)!;
            assert.ok(log.indexOf(`-${above.label}`) < log.indexOf(`+${label}`));
          }
        }
        assert.ok(workers.length <= numWorkers && workers.every(({ isDisposed }) => isDisposed));
      }),
      { numRuns: 30 },
    );
  });

  test('that are done already are not run, and no worker is started for nothing', async () => {
    const [a, b] = [stage('a'), stage('b')];
    const { log, execute, workers } = setUp([a, b]);
    await execute({ isDone: (id) => id === a.id });
    assert.deepEqual([log, workers.length], [['+b', '-b'], 1]);
    const none = setUp([a]);
    await none.execute({ isDone: () => true });
    assert.equal(none.workers.length, 0);
  });

  test('use all workers at once where they do not need each other', async () => {
    const { log, execute } = setUp([stage('a'), stage('b')]);
    await execute();
    assert.deepEqual(log.slice(0, 2).sort(), ['+a', '+b']);
  });

  test('that are timed run alone', async () => {
    const first = stage('first');
    const { log, execute } = setUp([
      first,
      stage('timed', [first], 'cost'),
      stage('other', [first]),
      stage('last', [first]),
    ]);
    await execute();
    assert.equal(log.indexOf('-timed'), log.indexOf('+timed') + 1);
  });

  test('on whose end the run hangs go first, others in the order of the plan', async () => {
    const long = stage('long');
    const stages = [stage('a'), stage('b'), stage('c'), long];
    const { log, execute } = setUp(stages);
    const seconds = new Map(stages.map(({ id }) => [id, id === long.id ? 50 : 1]));
    await execute({ seconds, numWorkers: 1 });
    assert.deepEqual(
      log.filter((entry) => entry.startsWith('+')),
      ['+long', '+a', '+b', '+c'],
    );
  });
});

describe('a failure', () => {
  test('stops the other stages, is told with its stage, and leaves no process', async () => {
    const { execute, workers } = setUp([stage('bad'), stage('slow'), stage('never')], {
      on: async (label, isStopped) => {
        if (label === 'slow') return untilStopped(isStopped);
        throw new BackendError('the process was ended by SIGKILL.');
      },
    });
    await assert.rejects(execute(), (error) => {
      return error instanceof AzeotropeError && error.message === 'bad: the process was ended by SIGKILL.';
    });
    assert.ok(workers.every(({ isDisposed }) => isDisposed));
  });

  test('of the program stays what it is', async () => {
    const { execute } = setUp([stage('bad')], { on: () => Promise.reject(new TypeError('x is not a function')) });
    await assert.rejects(execute(), TypeError);
  });

  test('in noting what is done ends the run too', async () => {
    const { execute } = setUp([stage('a'), stage('b')]);
    await assert.rejects(execute({ onDone: () => Promise.reject(new AzeotropeError('disk full')) }), /disk full/);
  });
});

test('the signal stops every stage at its next step', async () => {
  const stop = new AbortController();
  const { execute, workers, log } = setUp([stage('a'), stage('b'), stage('c')], {
    on: (_, isStopped) => untilStopped(isStopped),
  });
  setTimeout(() => stop.abort(), 20);
  await assert.rejects(execute({ signal: stop.signal }), { name: 'AbortError' });
  assert.ok(!log.includes('+c') && workers.every(({ isDisposed }) => isDisposed));
});
