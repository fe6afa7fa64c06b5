/** The models of a run over files: those that are there, and how others are derived from them. */

import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../model/checkpoint.js';
import type { TransformerConfig } from '../../model/config.js';
import { parseHuggingFaceConfig } from '../../model/hugging-face-config.js';
import { ConfigError } from '../../support/errors.js';
import { didYouMean } from '../../support/suggest.js';
import type { ModelRequest, ModelSource, Role } from '../task.js';
import type { DatasetTaskConfig, DeriveConfig, ModelConfig } from './config.js';

const ROLES: readonly string[] = ['teacher', 'proxy', 'student'];

/** Task settings that decide models. */
type Settings = Pick<DatasetTaskConfig, 'models' | 'expectedTokens'>;

/** The configured model of a request. Errors: ConfigError for a kind that is not configured. */
export function modelOf({ models }: Settings, { role, kind }: ModelRequest): ModelConfig {
  if (kind === 'default') return models[role];
  const named = role === 'proxy' ? models.proxyKinds[kind] : undefined;
  if (named !== undefined) return named.model;
  throw new ConfigError(
    `task.models has no ${role} of the kind '${kind}'.${role === 'proxy' ? didYouMean(kind, Object.keys(models.proxyKinds)) : ''} ` +
      'Kinds of proxy are named in task.models.proxyKinds.',
  );
}

/**
 * Where the model of a request is, or how it is made. To plan (`isPlan`) nothing need be there: then a model without files has no
 * identity but its name. Errors: ModelLoadError; ConfigError for models that are derived from one another in a circle.
 */
export async function sourceOf(
  settings: Settings,
  request: ModelRequest,
  { isPlan, isRoot = true }: { isPlan: boolean; isRoot?: boolean },
): Promise<ModelSource> {
  if (isRoot) checkCircle(settings, request);
  const model = modelOf(settings, request);
  if (typeof model === 'string') return readySource({ model }, isPlan);
  if (!('derive' in model)) return readySource(model, isPlan);
  const { derive } = model;
  const parent = parentOf(derive, request);
  const parentSource =
    parent === undefined
      ? await readySource({ model: derive.from }, isPlan)
      : await sourceOf(settings, parent, { isPlan, isRoot: false });
  const { from: _from, ...what } = derive;
  const { prompt, response } = settings.expectedTokens;
  const tokens = derive.train === undefined ? 0 : derive.train.epochs * derive.train.rows * (prompt + response);
  const ready = parent === undefined && parentSource.kind === 'ready' ? parentSource : undefined;
  return {
    kind: 'build',
    recipe: { ...what, from: ready?.identity ?? null },
    from: parent === undefined ? [] : [parent],
    usesHoldout: derive.train?.on === 'holdout',
    work: tokens === 0 ? {} : { trained: [{ model: request, tokens }] },
    ...(parentSource.config && { config: cutConfig(parentSource.config, derive) }),
  };
}

/** The request of the role that a model is derived from; undefined where a model is named. */
export function parentOf({ from }: DeriveConfig, request: ModelRequest): ModelRequest | undefined {
  if (!ROLES.includes(from)) return undefined;
  const role = from as Role;
  const seed = role === 'teacher' ? request.teacherSeed : request.seed;
  return { role, kind: 'default', seed, teacherSeed: request.teacherSeed };
}

function checkCircle(settings: Settings, request: ModelRequest): void {
  const seen: string[] = [];
  for (let at: ModelRequest | undefined = request; at !== undefined; ) {
    const name = `${at.role} ${at.kind}`;
    if (seen.includes(name)) {
      throw new ConfigError(
        `task.models: the ${request.role} is derived from itself (${[...seen, name].join(' from ')}).`,
      );
    }
    seen.push(name);
    const model = modelOf(settings, at);
    at = typeof model !== 'string' && 'derive' in model ? parentOf(model.derive, at) : undefined;
  }
}

/** A configuration with fewer layers. Errors: ConfigError where there are not as many. */
export function cutConfig(
  config: TransformerConfig,
  { from, layers = config.numLayers }: DeriveConfig,
): TransformerConfig {
  if (layers <= config.numLayers) return { ...config, numLayers: layers };
  throw new ConfigError(`task.models: ${layers} layers of ${from} are wanted; it has ${config.numLayers}.`);
}

async function readySource(
  { model, config }: { readonly model: string; readonly config?: Readonly<Record<string, unknown>> | undefined },
  isPlan: boolean,
): Promise<ModelSource> {
  const described =
    config === undefined ? undefined : parseHuggingFaceConfig(config, `task.models: config of ${model}`);
  if (isPlan && !existsSync(model)) {
    return { kind: 'ready', location: model, identity: model, ...(described && { config: described }) };
  }
  const checkpoint = await openCheckpoint(model);
  checkpoint.dispose();
  const { revision, path, config: own } = checkpoint;
  const name = model.split('@')[0];
  return revision === undefined
    ? { kind: 'ready', location: path, identity: identityOf(path), config: own }
    : { kind: 'ready', location: `${name}@${revision}`, identity: `${name}@${revision}`, config: own };
}

const identities = new Map<string, string>();
const SAMPLES = 256;
const SAMPLE_BYTES = 16_384;

/** SHA-256 over names, sizes and evenly spread parts of a model's files: reading all of many gigabytes would take minutes. */
function identityOf(path: string): string {
  const isFolder = statSync(path).isDirectory();
  const files = isFolder
    ? readdirSync(path)
        .filter((name) => /\.(safetensors|json|model|txt|jinja)$/.test(name))
        .sort()
    : [''];
  const states = files.map((name) => {
    const { size, mtimeMs } = statSync(join(path, name));
    return { name, size, mtimeMs };
  });
  const known = JSON.stringify([path, states]);
  let identity = identities.get(known);
  if (identity === undefined) {
    const hash = createHash('sha256');
    for (const { name, size } of states)
      hash.update(JSON.stringify([name, size])).update(sampleOf(join(path, name), size));
    identity = hash.digest('hex');
    identities.set(known, identity);
  }
  return identity;
}

function sampleOf(path: string, size: number): Buffer {
  const count = Math.min(SAMPLES, Math.ceil(size / SAMPLE_BYTES));
  const sample = Buffer.alloc(count * SAMPLE_BYTES);
  const file = openSync(path, 'r');
  try {
    for (let index = 0; index < count; index++) {
      const position = count === 1 ? 0 : Math.floor((index * Math.max(0, size - SAMPLE_BYTES)) / (count - 1));
      readSync(file, sample, index * SAMPLE_BYTES, SAMPLE_BYTES, position);
    }
  } finally {
    closeSync(file);
  }
  return sample;
}
