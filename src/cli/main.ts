#!/usr/bin/env -S node --max-semi-space-size=2
// Reading a vocabulary lets V8's young generation grow to 16 MB twice and keep it: held to 2 MB, 33 MB less at the peak, no slower.
import { commands } from './commands.js';
import { runCli } from './run.js';

const exitCode = await runCli(commands, process.argv.slice(2));
// Pipes are written asynchronously: leave only when the text is out.
process.stdout.write('', () => process.exit(exitCode));
