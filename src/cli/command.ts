import { z } from 'zod';
import type { Progress, ProgressOptions } from './progress.js';

declare module 'zod' {
  /** What an option's schema says beside its type: `z.int().default(256).meta({ description: '…', unit: 'tokens' })`. */
  interface GlobalMeta {
    /** The unit of the value, in the plural: tokens, threads, rows. */
    unit?: string;
    /** What stands for the value in the help: `file` gives `--input <file>`. */
    placeholder?: string;
    /** For an option without a default: what happens where it is not given. */
    whenAbsent?: string;
  }
}

/** A row of the table of commands; the rest of a command is loaded only when it is asked for. */
export type CommandRow = {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  readonly load: () => Promise<Command>;
};

/** A command: its options are one strict zod object, the only place where its defaults live. Flags are derived from it. */
export type Command<Options extends z.ZodObject = z.ZodObject> = {
  readonly description: string;
  /** Options that may also be given by position, in this order. */
  readonly arguments?: readonly (keyof z.output<Options> & string)[];
  readonly options: Options;
  /** Command lines, each with the program's name. */
  readonly examples: readonly string[];
  /** Told after Ctrl-C: what is kept and how to continue. */
  readonly howToContinue?: (config: z.output<Options>) => string;
  /** Does the work. What is returned is printed as JSON under `--json`. */
  readonly run: (context: CommandContext, config: z.output<Options>) => Promise<unknown>;
};

/** What a command has of the outside world. */
export type CommandContext = {
  /** Aborted by Ctrl-C. A command stops at its next whole step and throws `signal.reason` (`signal.throwIfAborted()`). */
  readonly signal: AbortSignal;
  /** Writes a line to standard error; silent under `--quiet`. */
  readonly log: (line: string) => void;
  /** Writes text, without adding a newline, to standard output; under `--json` to standard error. */
  readonly write: (text: string) => void;
  /** A progress bar on a terminal, plain lines elsewhere; silent under `--quiet`. */
  readonly createProgress: (options: ProgressOptions) => Progress;
};

const commonOptions = {
  seed: z.int().min(0).default(0).meta({ description: 'Seed of all random numbers' }),
  threads: z
    .int()
    .min(1)
    .max(1024)
    .optional()
    .meta({ description: 'Threads that compute', whenAbsent: 'chosen for this machine' }),
  json: z
    .boolean()
    .default(false)
    .meta({ description: 'Print the result as JSON on standard output, all else on standard error' }),
  quiet: z.boolean().default(false).meta({ description: 'Print no progress and no notes' }),
};

/** The strict options of a command: those that every command has (seed, threads, json, quiet) and its own. */
export function commandOptions<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject({ ...shape, ...commonOptions });
}

/** Gives `run` and `howToContinue` the type of the options, then forgets it, for the table. */
export function defineCommand<Options extends z.ZodObject>(command: Command<Options>): Command {
  return command as unknown as Command;
}
