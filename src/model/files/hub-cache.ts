import { existsSync, readFileSync, statSync } from 'node:fs';
import { copyFile, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { shardNames } from './safetensors-shards.js';

/**
 * The hub's cache on disk, shared with Hugging Face's own tools:
 * `models--org--name/{blobs/<hash>, snapshots/<commit>/<file> → blob, refs/<revision> = commit}`.
 */
export interface RepositoryCache {
  snapshotFolder(commit: string): string;
  blobPath(hash: string): string;
  hasBlob(hash: string, sizeBytes: number): boolean;
  /** The commit that a branch or tag had when it was last asked for. */
  commitOf(revision: string): string | undefined;
  setCommit(revision: string, commit: string): Promise<void>;
  /** Makes a file of a snapshot lead to a blob. */
  link(commit: string, file: string, hash: string): Promise<void>;
}

export const COMMIT = /^[0-9a-f]{40}$/;

export function repositoryCache(cacheFolder: string, repository: string): RepositoryCache {
  const root = join(cacheFolder, `models--${repository.replace('/', '--')}`);
  const snapshotFolder = (commit: string) => join(root, 'snapshots', commit);
  const blobPath = (hash: string) => join(root, 'blobs', hash);
  return {
    snapshotFolder,
    blobPath,
    hasBlob: (hash, sizeBytes) => statSync(blobPath(hash), { throwIfNoEntry: false })?.size === sizeBytes,
    commitOf(revision) {
      if (COMMIT.test(revision)) return revision;
      const path = join(root, 'refs', revision);
      const commit = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
      return COMMIT.test(commit) ? commit : undefined;
    },
    async setCommit(revision, commit) {
      if (COMMIT.test(revision)) return;
      const path = join(root, 'refs', revision);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, commit);
    },
    async link(commit, file, hash) {
      const path = join(snapshotFolder(commit), file);
      if (existsSync(path)) return;
      await mkdir(dirname(path), { recursive: true });
      await rm(path, { force: true }); // a link whose blob is gone
      const blob = blobPath(hash);
      // Some systems allow no links: a copy serves as well.
      await symlink(relative(dirname(path), blob), path).catch(async () => {
        if (!existsSync(path)) await copyFile(blob, path);
      });
    },
  };
}

/** True where a snapshot holds a configuration and all its weights (or the one GGUF file asked for). */
export function isCompleteSnapshot(folder: string, ggufFile: string | undefined): boolean {
  if (ggufFile !== undefined) return existsSync(join(folder, ggufFile));
  if (!existsSync(join(folder, 'config.json'))) return false;
  const index = join(folder, 'model.safetensors.index.json');
  if (existsSync(join(folder, 'model.safetensors'))) return true;
  return existsSync(index) && shardNames(index).every((name) => existsSync(join(folder, name)));
}
