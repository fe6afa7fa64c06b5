import { mkdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ModelLoadError } from '../../support/errors.js';
import { shorten } from '../families.js';
import { reasonOf } from './byte-file.js';
import { COMMIT, isCompleteSnapshot, type RepositoryCache, repositoryCache } from './hub-cache.js';
import { type DownloadOptions, downloadFile, type RemoteFile } from './hub-download.js';
import { NetworkError, request, withRetries } from './hub-request.js';
import { type HubSettings, hubSettings, withoutToken } from './hub-settings.js';

/** A model on the hub. */
export interface HubReference {
  /** `org/name`. */
  readonly repository: string;
  /** Branch, tag or commit; `main` where none is given. */
  readonly revision: string;
  /** One GGUF file of the repository, instead of the whole model. */
  readonly ggufFile: string | undefined;
}

export interface HubOptions extends DownloadOptions {
  /** Default: from the environment. */
  readonly settings?: HubSettings;
}

export interface FetchedModel {
  /** Folder of the snapshot, or the GGUF file in it. */
  readonly path: string;
  /** Commit. */
  readonly revision: string;
  readonly warnings: readonly string[];
}

/** `org/name`, `org/name@revision`, `org/name/file.gguf`, `org/name/file.gguf@revision`; undefined for anything else. */
export function parseHubReference(location: string): HubReference | undefined {
  const match = /^([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)((?:\/[\w][\w. -]*)+\.gguf)?(?:@([\w][\w./-]*))?$/.exec(
    location,
  );
  if (!match || location.includes('..') || match[1].includes('--')) return undefined;
  return { repository: match[1], revision: match[3] ?? 'main', ggufFile: match[2]?.slice(1) };
}

/**
 * Brings a model into the hub's cache and says where it lies. Files that are there already are not fetched again; without
 * network, or with HF_HUB_OFFLINE, what is cached is used.
 * @throws ModelLoadError: not found, refused, no network and not cached, interrupted, disk full, damaged
 */
export async function fetchFromHub(reference: HubReference, options: HubOptions = {}): Promise<FetchedModel> {
  const settings = options.settings ?? hubSettings();
  const cache = repositoryCache(settings.cacheFolder, reference.repository);
  const cached = cachedModel(reference, cache);
  if (settings.isOffline) {
    if (cached) return cached;
    throw new ModelLoadError(
      `${nameOf(reference)}: not (completely) in the cache ${settings.cacheFolder}, and HF_HUB_OFFLINE forbids to fetch it. Unset it once, or name a local folder.`,
    );
  }
  try {
    return await fetchOnline(reference, cache, { ...options, settings });
  } catch (error) {
    if (!(error instanceof NetworkError)) throw error;
    if (!cached) throw error;
    return { ...cached, warnings: [`${error.message} The cached copy (${cached.revision.slice(0, 8)}) is used.`] };
  }
}

function cachedModel(reference: HubReference, cache: RepositoryCache): FetchedModel | undefined {
  const commit = cache.commitOf(reference.revision);
  if (commit === undefined) return undefined;
  const folder = cache.snapshotFolder(commit);
  if (!isCompleteSnapshot(folder, reference.ggufFile)) return undefined;
  return { path: join(folder, reference.ggufFile ?? ''), revision: commit, warnings: [] };
}

async function fetchOnline(
  reference: HubReference,
  cache: RepositoryCache,
  options: HubOptions & { settings: HubSettings },
): Promise<FetchedModel> {
  const { settings } = options;
  const commit = await commitOnHub(reference, options);
  const files = neededFiles(await listFiles(reference, commit, options), reference);
  const missing = files.filter((file) => !cache.hasBlob(file.hash.hex, file.sizeBytes));
  await makeRoom(missing, cache.blobPath(''), settings);
  for (const file of files) {
    if (missing.includes(file)) await downloadFile(file, cache.blobPath(file.hash.hex), settings, options);
    await cache.link(commit, file.path, file.hash.hex);
  }
  await cache.setCommit(reference.revision, commit);
  return { path: join(cache.snapshotFolder(commit), reference.ggufFile ?? ''), revision: commit, warnings: [] };
}

/** The library's requests through ours, so that the token, the retries and the errors are the same everywhere. */
function libraryOptions(reference: HubReference, { settings, signal }: HubOptions & { settings: HubSettings }) {
  const ask = (input: unknown) => request(String(input), settings, { what: nameOf(reference), signal });
  return { hubUrl: settings.endpoint, fetch: ask as typeof fetch };
}

async function commitOnHub(reference: HubReference, options: HubOptions & { settings: HubSettings }): Promise<string> {
  if (COMMIT.test(reference.revision)) return reference.revision;
  const { modelInfo } = await import('@huggingface/hub');
  const { repository: name, revision } = reference;
  const info = await answerOf(reference, options, () =>
    modelInfo({ name, revision, additionalFields: ['sha'], ...libraryOptions(reference, options) }),
  );
  if (typeof info.sha === 'string' && COMMIT.test(info.sha)) return info.sha;
  throw new ModelLoadError(
    `${nameOf(reference)}: the hub names ${shorten(info.sha)} as its commit. Is HF_ENDPOINT a model hub?`,
  );
}

interface ListedFile {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  readonly oid?: string;
  readonly lfs?: { readonly oid: string; readonly size: number };
}

async function listFiles(
  reference: HubReference,
  commit: string,
  options: HubOptions & { settings: HubSettings },
): Promise<RemoteFile[]> {
  const { listFiles: list } = await import('@huggingface/hub');
  const folder = reference.ggufFile === undefined ? '.' : dirname(reference.ggufFile);
  const listed = await answerOf(reference, options, async () => {
    const entries: ListedFile[] = [];
    const common = {
      repo: { type: 'model', name: reference.repository } as const,
      revision: commit,
      ...libraryOptions(reference, options),
    };
    for await (const entry of list({ ...common, ...(folder !== '.' && { path: folder }) })) entries.push(entry);
    return entries;
  });
  return listed
    .filter(({ type, path }) => type === 'file' && (isNeeded(path) || String(path).endsWith('.gguf')))
    .map((entry) => remoteFile(entry, reference, commit, options.settings));
}

/** Anything but our own errors that comes out of the library means that the answer made no sense. */
async function answerOf<T>(
  reference: HubReference,
  options: HubOptions & { settings: HubSettings },
  ask: () => Promise<T>,
): Promise<T> {
  try {
    return await withRetries(ask, options);
  } catch (error) {
    if (error instanceof ModelLoadError) throw error;
    const reason = withoutToken(reasonOf(error), options.settings);
    throw new ModelLoadError(
      `${nameOf(reference)}: the hub's answer makes no sense: ${reason} Is HF_ENDPOINT a model hub?`,
    );
  }
}

function remoteFile(
  { path, size, oid, lfs }: ListedFile,
  reference: HubReference,
  commit: string,
  settings: HubSettings,
): RemoteFile {
  const parts = path.split('/');
  if (!parts.every((part) => /^[\w][\w. +-]*$/.test(part)) || path.includes('..'))
    throw new ModelLoadError(
      `${nameOf(reference)}: the hub lists a file ${shorten(path)}, whose name could lead out of the cache. It was refused.`,
    );
  const hash = lfs ? ({ kind: 'sha256', hex: lfs.oid } as const) : ({ kind: 'git-blob', hex: String(oid) } as const);
  const sizeBytes = lfs?.size ?? size;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash.hex))
    throw new ModelLoadError(
      `${nameOf(reference)}: the hub gives ${path} the size ${shorten(sizeBytes)} and hash ${shorten(hash.hex)}. Is HF_ENDPOINT a model hub?`,
    );
  const url = `${settings.endpoint}/${reference.repository}/resolve/${commit}/${parts.map(encodeURIComponent).join('/')}`;
  return { path, url, sizeBytes, hash };
}

function isNeeded(path: string): boolean {
  if (path.includes('/') && !path.includes('..')) return false;
  return (
    /(^|[/\\])(model.*\.safetensors|model\.safetensors\.index\.json)$/.test(path) ||
    /(^|[/\\])(config|generation_config|special_tokens_map|added_tokens|vocab)\.json$/.test(path) ||
    /(^|[/\\])(tokenizer[\w.]*\.(json|model)|merges\.txt|chat_template\.\w+)$/.test(path)
  );
}

/** The files to fetch, config.json last: where it is, everything is. */
function neededFiles(files: readonly RemoteFile[], reference: HubReference): RemoteFile[] {
  if (reference.ggufFile !== undefined) {
    const file = files.find(({ path }) => path === reference.ggufFile);
    if (file) return [file];
    throw new ModelLoadError(`${nameOf(reference)}: there is no such file. ${ggufAdvice(files, reference)}`);
  }
  const config = files.find(({ path }) => path === 'config.json');
  const weights = files.filter(({ path }) => path.endsWith('.safetensors'));
  if (!config || weights.length === 0)
    throw new ModelLoadError(
      `${nameOf(reference)}: has no ${config ? 'safetensors weights' : 'config.json'}. ${ggufAdvice(files, reference)}`,
    );
  const isSingle = weights.some(({ path }) => path === 'model.safetensors');
  const wanted = files.filter(
    ({ path }) => !path.endsWith('.gguf') && path !== 'config.json' && !(isSingle && isShard(path)),
  );
  return [...wanted, config];
}

function isShard(path: string): boolean {
  return /\.safetensors(\.index\.json)?$/.test(path) && path !== 'model.safetensors';
}

function ggufAdvice(files: readonly RemoteFile[], reference: HubReference): string {
  const names = files.filter(({ path }) => path.endsWith('.gguf')).map(({ path }) => `${reference.repository}/${path}`);
  return names.length === 0
    ? 'It cannot be run by this program.'
    : `Name one of its GGUF files: ${names.slice(0, 8).join(', ')}.`;
}

async function makeRoom(files: readonly RemoteFile[], blobs: string, settings: HubSettings): Promise<void> {
  const needed = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  try {
    await mkdir(blobs, { recursive: true });
  } catch (error) {
    throw new ModelLoadError(`${settings.cacheFolder}: ${reasonOf(error)} Set HF_HOME to a folder you can write to.`);
  }
  const { bavail, bsize } = await statfs(blobs);
  if (needed > bavail * bsize)
    throw new ModelLoadError(
      `${settings.cacheFolder}: ${bavail * bsize} bytes are free, the model needs ${needed} more. Free space, or set HF_HOME to another disk.`,
    );
}

function nameOf({ repository, revision, ggufFile }: HubReference): string {
  return `${repository}${ggufFile === undefined ? '' : `/${ggufFile}`}${revision === 'main' ? '' : `@${revision}`}`;
}
