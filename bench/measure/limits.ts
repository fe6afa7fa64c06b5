/** What the machine reaches: products of 1024³ through the engine in both precisions, and memory that is only read. */
import { Worker } from 'node:worker_threads';
import { measureRates } from '../../src/jobs/machine-rates.js';
import { withCompiler } from './session.js';

const MEGABYTES = 128;

/** Compares two blocks far larger than the caches, over and over, and tells the best rate in bytes a millisecond. */
const READER = `
const { parentPort, workerData: { bytes, ms } } = require('node:worker_threads');
const [a, b] = [Buffer.alloc(bytes, 1), Buffer.alloc(bytes, 1)];
let best = 0;
for (const end = performance.now() + ms; performance.now() < end; ) {
  const started = performance.now();
  a.equals(b);
  best = Math.max(best, (2 * bytes) / (performance.now() - started));
}
parentPort.postMessage(best);
`;

/** 10⁹ bytes a second, read by `threads` threads at a time. */
async function readRate(threads: number, ms: number): Promise<number> {
  const rates = Array.from({ length: threads }, () => {
    const worker = new Worker(READER, { eval: true, workerData: { bytes: MEGABYTES * 2 ** 20, ms } });
    return new Promise<number>((resolve, reject) => worker.on('message', resolve).on('error', reject));
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0) / 1e6;
}

export function measure({ threads, seconds }: { threads: number; seconds: number }): Promise<object> {
  return withCompiler(threads, async (compiler) => {
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    const { float32Gflops, bfloat16Gflops } = await measureRates(compiler, { seconds });
    const { user, system } = process.cpuUsage(cpu);
    const cpuOverWall = (user + system) / 1000 / (performance.now() - started);
    const memory = await readRate(threads, 1000 * seconds);
    // Below the number of threads: others had the processor meanwhile.
    return { threads, cpuOverWall, float32Gflops, bfloat16Gflops, memoryGigabytesPerSecond: memory };
  });
}
