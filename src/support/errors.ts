/**
 * Errors a user can act on. A message says what is wrong, what was got against what was expected, where (file and line, or
 * path in the configuration) and what to do about it. Anything else that is thrown is a bug in this program.
 */
export class AzeotropeError extends Error {
  override name = 'AzeotropeError';
}

/** A flag, a key or a value in a configuration is wrong. */
export class ConfigError extends AzeotropeError {
  override name = 'ConfigError';
}

/** A file of rows (prompts, traces, scores) is missing, empty or malformed, or an id lies outside the vocabulary. */
export class DataError extends AzeotropeError {
  override name = 'DataError';
}

/** Tensors that do not fit together: a graph could not be built. */
export class ShapeError extends AzeotropeError {
  override name = 'ShapeError';
}

/** A training checkpoint is corrupt, or belongs to another run. */
export class CheckpointError extends AzeotropeError {
  override name = 'CheckpointError';
}

/** A model folder, file or hub repository cannot be loaded: missing, broken, hostile or of an unknown family. */
export class ModelLoadError extends AzeotropeError {
  override name = 'ModelLoadError';
}

/** The compute runtime is missing or refused a graph. */
export class BackendError extends AzeotropeError {
  override name = 'BackendError';
}

/** A setting, such as the strength of a tilt, is beyond what float32 can compute. */
export class OverflowError extends BackendError {
  override name = 'OverflowError';
}

/** Throws for a broken invariant: a bug in this program, never a user's mistake. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`internal: ${message}`);
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
