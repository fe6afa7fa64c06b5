export {
  AzeotropeError,
  BackendError,
  CheckpointError,
  ConfigError,
  DataError,
  ModelLoadError,
  ShapeError,
} from './support/errors.js';
