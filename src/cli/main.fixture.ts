import { fixtureCommands } from './commands.fixture.js';
import { runCli } from './run.js';

const exitCode = await runCli(fixtureCommands, process.argv.slice(2));
process.stdout.write('', () => process.exit(exitCode));
