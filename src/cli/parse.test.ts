import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError, DataError, messageOf } from '../support/errors.js';
import { fixtureCommands } from './commands.fixture.js';
import { parseCommandLine } from './parse.js';

const folder = mkdtempSync(join(tmpdir(), 'azeotrope-parse-'));
after(() => rmSync(folder, { recursive: true }));

function configFile(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function configOf(...args: string[]): Promise<unknown> {
  const invocation = await parseCommandLine(fixtureCommands, args);
  assert.ok('config' in invocation);
  return invocation.config;
}

test('what is not given has its default, and the configuration is frozen', async () => {
  const config = await configOf('echo', 'M');
  const defaults = { maxTokens: 256, temperature: 1, precision: 'float32', stop: [], shuffle: true };
  assert.deepEqual(config, { model: 'M', ...defaults, seed: 0, json: false, quiet: false });
  assert.throws(() => (config as { stop: string[] }).stop.push('x'), TypeError);
});

test('a configuration file equals the flags, and flags win over it', async () => {
  const flags =
    '--max-tokens 5 --temperature 0.5 --precision bfloat16 --stop a --stop b --layers 1 --no-shuffle --seed 7';
  const file = configFile(
    'run.yaml',
    'model: M\nmaxTokens: 5\ntemperature: 0.5\nprecision: bfloat16\nstop: [a, b]\nlayers: [1]\nshuffle: false\nseed: 7\n',
  );
  const fromFlags = await configOf('echo', 'M', ...flags.split(' '));
  assert.deepEqual(await configOf('echo', '--config', file), fromFlags);
  const both = await configOf('echo', 'N', '--config', file, '--shuffle', '--max-tokens', '6');
  assert.deepEqual(both, { ...(fromFlags as object), model: 'N', shuffle: true, maxTokens: 6 });
});

test('a configuration file may be empty, or JSON', async () => {
  assert.deepEqual(
    await configOf('echo', 'M', '--config', configFile('empty.yaml', '# nothing\n')),
    await configOf('echo', 'M'),
  );
  assert.deepEqual(
    await configOf('echo', '--config', configFile('run.json', '{"model": "M", "seed": 3}')),
    await configOf('echo', 'M', '--seed', '3'),
  );
});

const mistakes: [name: string, args: string[], told: RegExp][] = [
  [
    'unknown flag',
    ['echo', 'M', '--max-token', '5'],
    /unknown option '--max-token'.*Did you mean --max-tokens\?[\s\S]*echo --help/,
  ],
  ['unknown command', ['ecko', 'M'], /unknown command 'ecko'.*Did you mean echo\?/],
  ['flag without a value', ['echo', 'M', '--max-tokens'], /--max-tokens <number>' argument missing/],
  ['excess argument', ['echo', 'M', 'N'], /too many arguments/],
  ['argument given twice', ['echo', 'M', '--model', 'N'], /model is given twice/],
  ['missing argument', ['echo'], /the argument <model> is missing: Model to use/],
  [
    'text for a number',
    ['echo', 'M', '--max-tokens', 'many'],
    /--max-tokens: expected a whole number, more than 0; got "many"/,
  ],
  [
    'nothing for a number',
    ['echo', 'M', '--max-tokens', ''],
    /--max-tokens: expected a whole number, more than 0; got ""/,
  ],
  [
    'fraction for a whole number',
    ['echo', 'M', '--max-tokens', '1.5'],
    /expected a whole number, more than 0; got "1.5"/,
  ],
  [
    'number out of range',
    ['echo', 'M', '--temperature', '-1'],
    /--temperature: expected a number, at least 0; got "-1"/,
  ],
  [
    'infinite number',
    ['echo', 'M', '--temperature', 'Infinity'],
    /--temperature: expected a number, at least 0; got "Infinity"/,
  ],
  [
    'unknown choice',
    ['echo', 'M', '--precision', 'float23'],
    /one of float32, bfloat16; got "float23". Did you mean "float32"\?/,
  ],
  [
    'wrong item of a list',
    ['echo', 'M', '--layers', '1', '--layers', 'x'],
    /--layers: expected a list.* whole number; got \["1","x"\]/,
  ],
  ['missing file', ['echo', 'M', '--config', 'absent.yaml'], /Cannot read absent\.yaml: there is no such file/],
  [
    'unknown key',
    ['echo', 'M', '--config', configFile('key.yaml', 'seed: 1\nmaxToken: 5\n')],
    /key\.yaml:2: unknown key "maxToken". Did you mean "maxTokens"\?/,
  ],
  [
    'flag as key',
    ['echo', 'M', '--config', configFile('flag.yaml', 'max-tokens: 5\n')],
    /unknown key "max-tokens". Did you mean "maxTokens"\?/,
  ],
  [
    'wrong type in a file',
    ['echo', 'M', '--config', configFile('type.yaml', '\nmaxTokens: "5"\n')],
    /type\.yaml:2: maxTokens: expected a whole number, more than 0; got "5"/,
  ],
  ['broken YAML', ['echo', 'M', '--config', configFile('broken.yaml', 'seed: 1\nstop: [a\n')], /broken\.yaml:\d: /],
  ['key twice', ['echo', 'M', '--config', configFile('twice.yaml', 'seed: 1\nseed: 2\n')], /twice\.yaml:2: .*unique/],
  [
    'infinity in a file',
    ['echo', 'M', '--config', configFile('infinite.yaml', 'temperature: .inf\n')],
    /infinite\.yaml:1: temperature: expected a number, at least 0; got Infinity/,
  ],
  ['no mapping', ['echo', 'M', '--config', configFile('list.yaml', '- a\n')], /list\.yaml: expected lines of the form/],
  ['missing anchor', ['echo', 'M', '--config', configFile('alias.yaml', 'seed: *none\n')], /alias\.yaml.*none/],
];

for (const [name, args, told] of mistakes) {
  test(`refused with what, where and what to do: ${name}`, async () => {
    await assert.rejects(parseCommandLine(fixtureCommands, args), (error) => {
      assert.ok(error instanceof ConfigError || error instanceof DataError, messageOf(error));
      assert.match(error.message, told);
      return true;
    });
  });
}

test('several mistakes are told at once, a line each', async () => {
  await assert.rejects(configOf('echo', '--max-tokens', 'x', '--precision', 'y'), (error) => {
    assert.equal(messageOf(error).split('\n').length, 3);
    return true;
  });
});
