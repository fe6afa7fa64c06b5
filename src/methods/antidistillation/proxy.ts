/** The proxy artefact: ∇ℓ of a small model on holdout traces of the teacher, and where it comes from. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Precision } from '../../engine/onnx/emitter.js';
import type { ParameterSpec, TransformerConfig } from '../../model/config.js';
import { openSafetensors } from '../../model/files/safetensors.js';
import { writeSafetensors } from '../../model/files/safetensors-write.js';
import type { TensorFile } from '../../model/files/tensor-file.js';
import { parameterSpecs, sizeOfShape } from '../../model/parameters.js';
import { DataError, messageOf } from '../../support/errors.js';
import { fileError, writeFileAtomic } from '../../support/files.js';
import { sha256OfJson } from '../../support/hash.js';

const SCHEMA_VERSION = 1;
const GRADIENT_FILE = 'gradient.safetensors';
const RECORD_FILE = 'proxy.json';

/** Where a proxy comes from. */
const provenanceSchema = z.object({
  /** The proxy's checkpoint as it was named, to be opened again. */
  model: z.string(),
  /** Commit on the hub; null for local files. */
  revision: z.string().nullable(),
  /** SHA-256 of what the configuration says of the computation. */
  configHash: z.string(),
  /** SHA-256 over values spread over all parameters. */
  modelHash: z.string(),
  holdout: z.object({ file: z.string(), sha256: z.string(), numRows: z.int(), chat: z.enum(['auto', 'never']) }),
  tokenizerFingerprint: z.string().nullable(),
  packageVersion: z.string(),
});

/** A strength solved for on calibration prompts. */
const calibrationSchema = z.looseObject({});

const recordSchema = z.object({
  schemaVersion: z.literal(SCHEMA_VERSION),
  lossNats: z.number(),
  responseTokens: z.int().min(1),
  precision: z.enum(['float32', 'bfloat16']).default('float32'),
  gradientNorm: z.number().positive(),
  epsilon: z.number().positive(),
  epsilonStudy: z.array(z.object({ epsilon: z.number(), error: z.number() })),
  calibration: z.array(calibrationSchema).nullable(),
  provenance: provenanceSchema,
});

type ProxyRecord = z.infer<typeof recordSchema>;

export interface ProxyArtefact {
  /** g = ∇ℓ(θ), not normalised, by the checkpoint's own parameter names; a tied matrix stands once. */
  readonly gradient: ReadonlyMap<string, Float32Array>;
  /** ‖g‖ over all parameters. */
  readonly gradientNorm: number;
  /** Step of the difference estimators, in units of g: θ ± ε·g. */
  readonly epsilon: number;
  /** Error of the central difference against the derivative at each ε that was tried. */
  readonly epsilonStudy: readonly { readonly epsilon: number; readonly error: number }[];
  /** ℓ(θ): mean over all response tokens of the holdout. */
  readonly lossNats: number;
  readonly responseTokens: number;
  /** That the loss and its gradient were computed in. */
  readonly precision: Precision;
  readonly tokenizerFingerprint: string | null;
  readonly calibration: ProxyRecord['calibration'];
  readonly provenance: ProxyRecord['provenance'];
}

/** SHA-256 of what decides the computation; ids with a meaning, the context and fresh weights do not. */
export function proxyConfigHash(config: TransformerConfig): string {
  const { bosTokenId: _bos, eosTokenIds: _eos, padTokenId: _pad, maxPositions: _max, ...rest } = config;
  const { initializerRange: _range, ...decisive } = rest;
  return sha256OfJson(decisive);
}

/** Writes `gradient.safetensors` and then `proxy.json`, which makes the folder a proxy. Errors: DataError. */
export async function writeProxy(folder: string, config: TransformerConfig, proxy: ProxyArtefact): Promise<void> {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw fileError(error, 'write', folder);
  }
  const tensors = parameterSpecs(config).map(({ name, shape }) => ({ name, shape, values: proxy.gradient.get(name)! }));
  await writeSafetensors(join(folder, GRADIENT_FILE), tensors);
  const record: ProxyRecord = {
    schemaVersion: SCHEMA_VERSION,
    lossNats: proxy.lossNats,
    responseTokens: proxy.responseTokens,
    precision: proxy.precision,
    gradientNorm: proxy.gradientNorm,
    epsilon: proxy.epsilon,
    epsilonStudy: [...proxy.epsilonStudy],
    calibration: proxy.calibration,
    provenance: proxy.provenance,
  };
  await writeFileAtomic(join(folder, RECORD_FILE), `${JSON.stringify(record, null, 2)}\n`);
}

/**
 * Reads a proxy and checks that it belongs to a model of this configuration. Errors: DataError where the folder is no proxy, is
 * damaged, is of another model, or holds a gradient that is zero or not finite.
 */
export function readProxy(folder: string, config: TransformerConfig): ProxyArtefact {
  const { proxy, dispose } = openStoredProxy(folder, config);
  try {
    return { ...proxy, gradient: proxy.gradient };
  } finally {
    dispose();
  }
}

/** Reads g of a parameter into memory of its size. */
export type GradientReader = (name: string, into: Float32Array) => void;

export interface StoredProxy {
  /** The whole gradient is read when it is first asked for. */
  readonly proxy: ProxyArtefact;
  /** One parameter at a time, so that the gradient need not be held beside what is made of it. */
  readonly readGradient: GradientReader;
  /** Closes the file. */
  dispose(): void;
}

/** As `readProxy`, but reads the gradient when it is asked for; what is wrong with its values is found out then. */
export function openStoredProxy(folder: string, config: TransformerConfig): StoredProxy {
  const { provenance, schemaVersion: _version, ...record } = readProxyRecord(folder);
  if (provenance.configHash !== proxyConfigHash(config)) {
    throw new DataError(
      `${folder}: this proxy was made with ${provenance.model}, a model of another configuration. Name that model, or make a proxy of this one (azeotrope proxy).`,
    );
  }
  const path = join(folder, GRADIENT_FILE);
  const specs = parameterSpecs(config);
  const file = openSafetensors(path);
  try {
    checkGradient(path, file, specs);
  } catch (error) {
    file.dispose();
    throw error;
  }
  const squares = new Map<string, number>();
  const readGradient: GradientReader = (name, into) => {
    let square = 0;
    for (const value of file.read(name, into)) square += value * value;
    squares.set(name, square);
    if (Number.isFinite(square) && (square > 0 || squares.size < specs.length)) return;
    const total = [...squares.values()].reduce((sum, each) => sum + each, 0);
    if (total > 0 && Number.isFinite(total)) return;
    throw new DataError(
      `${path}: the gradient is ${total === 0 ? 'zero' : 'not finite'}: nothing can be told from it. Make the proxy again (azeotrope proxy).`,
    );
  };
  let gradient: Map<string, Float32Array> | undefined;
  const readWhole = (): Map<string, Float32Array> => {
    const read = new Map<string, Float32Array>();
    for (const { name, shape } of specs) {
      const values = new Float32Array(sizeOfShape(shape));
      readGradient(name, values);
      read.set(name, values);
    }
    return read;
  };
  return {
    proxy: {
      ...record,
      provenance,
      tokenizerFingerprint: provenance.tokenizerFingerprint,
      get gradient() {
        gradient ??= readWhole();
        return gradient;
      },
    },
    readGradient,
    dispose: () => file.dispose(),
  };
}

/** Errors: DataError for a file whose tensors are not those of the model. */
function checkGradient(path: string, { tensors }: TensorFile, specs: readonly ParameterSpec[]): void {
  const unknown = [...tensors.keys()].find((name) => !specs.some((spec) => spec.name === name));
  if (unknown !== undefined) throw ofAnotherModel(path, `it has a tensor ${unknown}, which the model has not`);
  for (const { name, shape } of specs) {
    const stored = tensors.get(name)?.shape;
    if (stored === undefined) throw ofAnotherModel(path, `it has no tensor ${name}`);
    if (stored.join() !== shape.join())
      throw ofAnotherModel(path, `${name} is [${stored.join(', ')}] in it, [${shape.join(', ')}] in the model`);
  }
}

/** The content of `proxy.json` alone: what the proxy's model is called. Errors: DataError. */
export function readProxyRecord(folder: string): ProxyRecord {
  const path = join(folder, RECORD_FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (!existsSync(path))
      throw new DataError(`${folder} is no proxy: there is no ${RECORD_FILE} in it. Make one with azeotrope proxy.`);
    throw fileError(error, 'read', path);
  }
  const advice = 'Make the proxy again (azeotrope proxy).';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new DataError(`${path}: not valid JSON (${messageOf(error)}). ${advice}`);
  }
  const parsed = recordSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new DataError(`${path}: ${issue.path.join('.') || 'the file'}: ${issue.message}. ${advice}`);
}

/** Notes in `proxy.json` a strength that was solved for. Errors: DataError. */
export async function addCalibration(folder: string, calibration: Readonly<Record<string, unknown>>): Promise<void> {
  const record = readProxyRecord(folder);
  const noted = { ...record, calibration: [...(record.calibration ?? []), calibration] };
  await writeFileAtomic(join(folder, RECORD_FILE), `${JSON.stringify(noted, null, 2)}\n`);
}

function ofAnotherModel(path: string, how: string): DataError {
  return new DataError(
    `${path}: this gradient is of another model: ${how}. Name the proxy's own model, or make the proxy again.`,
  );
}
