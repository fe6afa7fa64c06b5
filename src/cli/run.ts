import { AzeotropeError, messageOf } from '../support/errors.js';
import type { CommandContext, CommandRow } from './command.js';
import { parseCommandLine } from './parse.js';
import { createProgress, type Progress } from './progress.js';

/**
 * Runs a command line (without node and script) and returns the exit code: 0; 2 for a user's mistake, told without a stack;
 * 1 for a bug, told with one; 130 after Ctrl-C, 143 after SIGTERM.
 */
export async function runCli(rows: readonly CommandRow[], argv: readonly string[]): Promise<number> {
  leaveQuietlyWithoutReader();
  process.on('uncaughtException', (error) => process.exit(reportError(error)));
  try {
    const invocation = await parseCommandLine(rows, argv);
    if ('text' in invocation) {
      process.stdout.write(invocation.text);
      return 0;
    }
    const { command, config } = invocation;
    const isQuiet = config.quiet === true;
    const isJson = config.json === true;
    const stop = stopOnSignals();
    const displays: Progress[] = [];
    process.on('exit', () => stopAll(displays)); // also where a second Ctrl-C ends the process: a bar changes the terminal's mode
    const eraseLine = process.stderr.isTTY ? '\r\x1b[K' : ''; // a progress bar may stand on the line; it is drawn again below
    const context: CommandContext = {
      signal: stop.signal,
      log: (line) => void (isQuiet || process.stderr.write(`${eraseLine}${line}\n`)),
      write: (text) => void (isJson ? isQuiet || process.stderr.write(text) : process.stdout.write(text)),
      createProgress: (options) => {
        const display = isQuiet ? { advance() {}, stop() {} } : createProgress(options, process.stderr);
        displays.push(display);
        return display;
      },
    };
    try {
      const result = await command.run(context, config);
      if (isJson) process.stdout.write(`${JSON.stringify(result ?? null)}\n`);
      return 0;
    } catch (error) {
      if (!isStop(error, stop.signal)) throw error;
      stopAll(displays);
      process.stderr.write(`Stopped. ${command.howToContinue?.(config) ?? 'Run the same command to start again.'}\n`);
      return stop.exitCode();
    } finally {
      stopAll(displays);
    }
  } catch (error) {
    return reportError(error);
  }
}

function stopAll(displays: readonly Progress[]): void {
  for (const display of displays) display.stop();
}

/** True where an error is the command's answer to the aborted signal, or a library's, which names the signal as its cause. */
function isStop(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (error === signal.reason || (error instanceof Error && error.cause === signal.reason));
}

/** Tells what was thrown on standard error and returns the exit code for it. */
function reportError(error: unknown): number {
  if (error instanceof AzeotropeError) {
    process.stderr.write(`azeotrope: ${error.message}\n`);
    return 2;
  }
  const stack = error instanceof Error ? error.stack : messageOf(error);
  process.stderr.write(`azeotrope: this is a bug in the program, please report it:\n${stack}\n`);
  return 1;
}

/** The first Ctrl-C or SIGTERM aborts the signal, so that the command stops cleanly; the second ends the process at once. */
function stopOnSignals(): { signal: AbortSignal; exitCode: () => number } {
  const controller = new AbortController();
  let exitCode = 130;
  const onSignal = (name: 'SIGINT' | 'SIGTERM') => {
    exitCode = name === 'SIGINT' ? 130 : 143;
    if (controller.signal.aborted) process.exit(exitCode);
    process.stderr.write('\nStopping at the next whole step; again to stop at once.\n');
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return { signal: controller.signal, exitCode: () => exitCode };
}

/** Ends the process without a word where the reader of its output has gone, as `azeotrope … | head` makes it. */
function leaveQuietlyWithoutReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0);
      throw error;
    });
  }
}
