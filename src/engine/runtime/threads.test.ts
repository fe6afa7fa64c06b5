import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { ConfigError } from '../../support/errors.js';
import { defaultThreads, parseCpuList, resolveThreads } from './threads.js';

const reader = (files: Record<string, string>) => (path: string) => files[path];

/** Four processors on two cores, processor 3 not allowed. */
const HYPERTHREADED = {
  '/proc/self/status': 'Name:\tnode\nCpus_allowed:\t7\nCpus_allowed_list:\t0-2\n',
  '/sys/devices/system/cpu/cpu0/topology/thread_siblings_list': '0,2\n',
  '/sys/devices/system/cpu/cpu1/topology/thread_siblings_list': '1,3\n',
  '/sys/devices/system/cpu/cpu2/topology/thread_siblings_list': '0,2\n',
};

test('siblings of one core count once, and only allowed processors count', () => {
  assert.equal(defaultThreads(3, reader(HYPERTHREADED)), 2);
});

test('a processor quota of the group bounds the number of threads, rounded down but never to none', () => {
  const files = { ...HYPERTHREADED, '/proc/self/cgroup': '0::/box\n' };
  const withQuota = (quota: string) => defaultThreads(3, reader({ ...files, '/sys/fs/cgroup/box/cpu.max': quota }));
  assert.equal(withQuota('150000 100000\n'), 1);
  assert.equal(withQuota('20000 100000\n'), 1);
  assert.equal(withQuota('800000 100000\n'), 2);
  assert.equal(withQuota('max 100000\n'), 2);
});

test('a quota of the first version of control groups counts too', () => {
  const files = {
    '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '300000\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
  };
  assert.equal(defaultThreads(8, reader(files)), 3);
  assert.equal(defaultThreads(8, reader({ ...files, '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n' })), 8);
});

test('without files of the system every available processor counts', () => {
  assert.equal(
    defaultThreads(6, () => undefined),
    6,
  );
});

test('processor lists expand', () => {
  assert.deepEqual(parseCpuList('0-2,8,10-11\n'), [0, 1, 2, 8, 10, 11]);
  assert.deepEqual(parseCpuList('\n'), []);
});

test('the default is within what the machine offers, and a number that was asked for is kept', () => {
  const threads = resolveThreads(undefined);
  assert.ok(threads >= 1 && threads <= availableParallelism());
  assert.equal(resolveThreads(7), 7);
});

test('a number of threads that cannot be is refused with the number in the message', () => {
  for (const asked of [0, -1, 1.5, 1025, Number.NaN]) {
    assert.throws(
      () => resolveThreads(asked),
      (error: unknown) => error instanceof ConfigError && error.message.includes(`threads is ${asked},`),
    );
  }
});
