#!/usr/bin/env node
import { commands } from './commands.js';
import { runCli } from './run.js';

const exitCode = await runCli(commands, process.argv.slice(2));
// Pipes are written asynchronously: leave only when the text is out.
process.stdout.write('', () => process.exit(exitCode));
