import { readFileSync } from 'node:fs';

/**
 * Most memory this process ever held, in bytes. From the kernel's high-water mark where there is one: `maxRSS` would count
 * what the parent held when it forked.
 */
export function peakRssBytes(): number {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
    if (kib !== undefined) return Number(kib) * 1024;
  } catch {
    // not Linux
  }
  return process.resourceUsage().maxRSS * 1024;
}
