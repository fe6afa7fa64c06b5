import type { CommandRow } from './command.js';

/** The commands, in the order of the help. Each loads its own module only when it is asked for. */
export const commands: readonly CommandRow[] = [];
