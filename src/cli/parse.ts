import { Command as Commander, CommanderError, Option } from 'commander';
import { ConfigError } from '../support/errors.js';
import { packageVersion } from '../support/package-version.js';
import type { Command, CommandRow } from './command.js';
import { buildConfig } from './config.js';
import { readConfigFile } from './config-file.js';
import { describeOption, type OptionSpec, optionsOf } from './options.js';

/** A command line understood: a command with its configuration, or text to print and be done. */
export type Invocation = { command: Command; config: Record<string, unknown> } | { text: string };

/**
 * Understands a command line (without node and script).
 * @throws ConfigError for an unknown command, flag, key or value
 */
export async function parseCommandLine(rows: readonly CommandRow[], argv: readonly string[]): Promise<Invocation> {
  let text = '';
  let result: Invocation | undefined;
  const program = new Commander('azeotrope')
    .description('Measure, resist and perform language-model distillation.')
    .version(packageVersion(), '--version', 'Print the version')
    .helpOption('--help', 'Print this help')
    .helpCommand(false);
  for (const row of rows) prepare(program.command(row.name).summary(row.summary));
  prepare(program);

  // `azeotrope help sample` is `azeotrope sample --help`
  const args = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv.length === 0 ? ['--help'] : [...argv];
  const row = rows.find(({ name }) => name === args.find((arg) => !arg.startsWith('-')));
  if (row) {
    const command = await row.load();
    const commander = program.commands.find((candidate) => candidate.name() === row.name)!;
    const specs = addOptions(commander, command);
    commander.action(async () => {
      const isOwn = ownsConfig(specs);
      const { config: path, ...rest } = commander.opts<Record<string, unknown>>();
      const flags = isOwn && path !== undefined ? { ...rest, config: path } : rest;
      for (const [index, value] of commander.args.entries()) {
        const key = command.arguments![index];
        if (key in flags) throw new ConfigError(`${key} is given twice: "${value}" and --${key} "${flags[key]}".`);
        flags[key] = value;
      }
      const file = !isOwn && typeof path === 'string' ? await readConfigFile(path) : undefined;
      result = { command, config: buildConfig(command.options, specs, { flags, file, positional: command.arguments }) };
    });
  }

  function prepare(commander: Commander): void {
    commander
      .exitOverride()
      .configureOutput({ writeOut: (part) => (text += part), writeErr: () => {}, outputError: () => {} });
  }

  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { text };
    const message = error.message.replace(/^error: /, '').replace(/\n\((.*)\)$/, '. $1');
    throw new ConfigError(`${message.replace(/([^.?!])$/, '$1.')}\nSee: azeotrope ${row ? `${row.name} ` : ''}--help`);
  }
  return result ?? { text };
}

/** Whether `--config` is an option like others, which the command itself understands. */
const ownsConfig = (specs: readonly OptionSpec[]): boolean => specs.some(({ key }) => key === 'config');

/** Gives a commander command the flags, arguments and help that follow from a command's schema. */
function addOptions(commander: Commander, command: Command): OptionSpec[] {
  const specs = optionsOf(command.options);
  const byPosition = new Set<string>(command.arguments);
  commander.description(command.description).helpOption('--help', 'Print this help');
  for (const key of byPosition) {
    const spec = specs.find((candidate) => candidate.key === key)!;
    commander.argument(`[${spec.flag}]`, describeOption(spec)); // whether it is there is the schema's to say
  }
  for (const spec of specs) {
    for (const option of flagsOf(spec)) commander.addOption(byPosition.has(spec.key) ? option.hideHelp() : option);
  }
  if (!ownsConfig(specs)) {
    const description = 'YAML file of options, named as above in camelCase; flags win over it';
    commander.addOption(new Option('--config <file>', description));
  }
  commander.addHelpText('after', `\nExamples:\n${command.examples.map((example) => `  ${example}`).join('\n')}`);
  return specs;
}

/** `--flag <value>`; for true or false both `--flag` and `--no-flag`, of which the help shows the one that changes something. */
function flagsOf(spec: OptionSpec): Option[] {
  const { flag, property } = spec;
  const description = describeOption(spec);
  if (property.type === 'boolean') {
    const positive = new Option(`--${flag}`, description);
    const negative = new Option(`--no-${flag}`, `Turn off: ${property.description}`);
    return property.default === true ? [positive.hideHelp(), negative] : [positive, negative.hideHelp()];
  }
  const type = property.type === 'array' ? property.items?.type : property.type;
  const placeholder = property.placeholder ?? (type === 'string' ? 'text' : 'number');
  const option = new Option(`--${flag} <${placeholder}>`, description);
  if (property.type === 'array') {
    option.argParser((value: string, previous: string[] | undefined) => [...(previous ?? []), value]);
  }
  return [option];
}
