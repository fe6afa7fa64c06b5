/** Runs groups: every series once a round, in turn, so that a slow minute of the machine meets them all. */
import { messageOf } from '../../src/support/errors.js';
import { runCommand } from './run-command.js';
import type { Group, GroupResult, Sample } from './types.js';

export async function runGroup(
  group: Group,
  { rounds, log }: { rounds: number; log: (message: string) => void },
): Promise<GroupResult> {
  const results: Record<string, Sample>[] = [];
  const broken = new Set<string>();
  for (let round = 0; round < (group.rounds ?? rounds); round++) {
    const samples: Record<string, Sample> = {};
    // The order turns round: what follows a long quiet stretch (a cool processor) is not always the same series.
    const order = group.series.map((_, index) => group.series[(index + round) % group.series.length]);
    for (const { who, command } of order) {
      if (broken.has(who)) continue;
      try {
        samples[who] = await runCommand(command, group.threads);
      } catch (error) {
        broken.add(who);
        log(`${who} failed and is left out: ${messageOf(error)}`);
      }
    }
    results.push(samples);
  }
  return { group, rounds: results };
}
