/** The programs compared with, where they are installed. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from './types.js';

export interface Peers {
  /** A Python that has torch and transformers, by AZEOTROPE_PYTHON or `python3`; undefined where there is none. */
  readonly python: string | undefined;
  /** The same Python, if it has llama-cpp-python. */
  readonly llamaPython: string | undefined;
  readonly hasNodeLlamaCpp: boolean;
}

const FOLDER = fileURLToPath(new URL('../peers/', import.meta.url));

/** Looks for the peers and tells which are missing and how to install them. */
export function findPeers(log: (message: string) => void): Peers {
  const name = process.env.AZEOTROPE_PYTHON ?? 'python3';
  const imports = (packages: string) => spawnSync(name, ['-c', `import ${packages}`], { stdio: 'ignore' }).status === 0;
  const [hasTorch, hasLlamaCpp] = [imports('torch, transformers'), imports('llama_cpp')];
  const missing = (what: string) =>
    log(
      `${what}: ${name} cannot import it; running without. Install bench/peers/requirements.txt and name that Python in AZEOTROPE_PYTHON.`,
    );
  if (!hasTorch) missing('PyTorch or transformers');
  if (!hasLlamaCpp) missing('llama-cpp-python');
  const folder = process.env.AZEOTROPE_PEERS ?? FOLDER;
  const hasNodeLlamaCpp = existsSync(join(folder, 'node_modules', 'node-llama-cpp', 'package.json'));
  if (!hasNodeLlamaCpp) log(`node-llama-cpp: not in ${folder}; running without. npm ci --prefix bench/peers`);
  return { python: hasTorch ? name : undefined, llamaPython: hasLlamaCpp ? name : undefined, hasNodeLlamaCpp };
}

/** `true` is a flag without a value. */
type Flags = Readonly<Record<string, string | number | true>>;
const flagsOf = (flags: Flags): string[] =>
  Object.entries(flags).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, `${value}`]));

/** A Python program of bench/peers. */
export function pythonPeer(python: string, script: string, flags: Flags): Command {
  return { kind: 'peer', command: [python, join(FOLDER, script), ...flagsOf(flags)] };
}

/** A Node program of bench/peers. */
export function nodePeer(script: string, flags: Flags): Command {
  return { kind: 'peer', command: [process.execPath, join(FOLDER, script), ...flagsOf(flags)] };
}
