/**
 * Keeps ONNX Runtime from reporting to its makers, unless ORT_DISABLE_TELEMETRY says otherwise; to be called before the library is
 * loaded. Beside privacy: its thread looks up the name of a server, and a process that ends meanwhile hangs, because unloading
 * waits for that thread while it holds the lock that the look-up needs.
 */
export function disableTelemetry(): void {
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
}
