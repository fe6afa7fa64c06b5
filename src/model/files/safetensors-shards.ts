import { realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { ModelLoadError } from '../../support/errors.js';
import { shorten } from '../families.js';
import { reasonOf } from './byte-file.js';
import { readModelJson } from './json-file.js';
import { openSafetensors } from './safetensors.js';
import type { StoredTensor, TensorFile } from './tensor-file.js';

/** A published model has at most a few hundred shards; each costs an open file. */
const MOST_SHARDS = 1000;

/**
 * Opens the shards that a `model.safetensors.index.json` names, as one. Only files of the index's own folder are opened
 * (through links too, except into the blobs of the hub's cache).
 * @throws ModelLoadError where the index is broken, a shard is missing, foreign or outside the folder, or they disagree
 */
export function openShards(indexPath: string): TensorFile {
  const shardOf = parseIndex(readModelJson(indexPath), indexPath);
  const names = new Set(shardOf.values());
  if (names.size > MOST_SHARDS)
    throw new ModelLoadError(`${indexPath}: names ${names.size} shards (limit ${MOST_SHARDS}).`);
  const shards = new Map<string, TensorFile>();
  function shardWith(name: string): TensorFile {
    const shard = shards.get(shardOf.get(name) ?? '');
    if (!shard) throw new ModelLoadError(`${indexPath}: there is no tensor ${name}.`);
    return shard;
  }
  function dispose(): void {
    for (const shard of shards.values()) shard.dispose();
  }
  try {
    for (const name of names) shards.set(name, openSafetensors(shardPath(indexPath, name)));
    const tensors = new Map<string, StoredTensor>();
    for (const [tensor, shard] of shardOf) {
      const stored = shards.get(shard)!.tensors.get(tensor);
      if (!stored)
        throw new ModelLoadError(
          `${indexPath}: tensor ${tensor} should be in ${shard}, but is not. The shards are not of this model; download it again.`,
        );
      tensors.set(tensor, stored);
    }
    return {
      path: indexPath,
      tensors,
      sizeBytes: [...shards.values()].reduce((sum, shard) => sum + shard.sizeBytes, 0),
      read: (name, into) => shardWith(name).read(name, into),
      readBytes: (name, start, into) => shardWith(name).readBytes(name, start, into),
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

function parseIndex(json: unknown, path: string): Map<string, string> {
  const map = typeof json === 'object' && json !== null ? (json as { weight_map?: unknown }).weight_map : undefined;
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new ModelLoadError(`${path}: weight_map (tensor name to file name) is missing or not an object.`);
  const entries: [string, unknown][] = Object.entries(map);
  for (const [tensor, shard] of entries)
    if (!isShardName(shard))
      throw new ModelLoadError(
        `${path}: tensor ${shorten(tensor)} is said to be in ${shorten(shard)}; expected the name of a .safetensors file in the same folder. The index is damaged or hostile.`,
      );
  return new Map(entries as [string, string][]);
}

/** The shard names of an index file. */
export function shardNames(indexPath: string): string[] {
  return [...new Set(parseIndex(readModelJson(indexPath), indexPath).values())];
}

function isShardName(name: unknown): name is string {
  return typeof name === 'string' && /^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$/.test(name);
}

function shardPath(indexPath: string, name: string): string {
  const folder = dirname(indexPath);
  const path = join(folder, name);
  try {
    const real = realpathSync(path);
    const home = realpathSync(folder);
    if (real.startsWith(home + sep) || isCacheBlob(real, home)) return real;
  } catch (error) {
    throw new ModelLoadError(`${path} (a shard that ${basename(indexPath)} names): ${reasonOf(error)}`);
  }
  throw new ModelLoadError(`${path}: the shard is a link that leads out of its folder. Replace it by the file itself.`);
}

/** The hub's cache holds links: `<repository>/snapshots/<commit>/<file>` leads to `<repository>/blobs/<hash>`. */
function isCacheBlob(real: string, home: string): boolean {
  const snapshots = dirname(home);
  return basename(snapshots) === 'snapshots' && dirname(real) === join(dirname(snapshots), 'blobs');
}
