/** Finds node-llama-cpp, an optional peer for comparisons: installed here, or wherever AZEOTROPE_PEERS points. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The module's exports and its version; ends the process with code 2 and the command to run where it is not installed. */
export async function loadNodeLlamaCpp() {
  const folder = process.env.AZEOTROPE_PEERS ?? dirname(fileURLToPath(import.meta.url));
  const require = createRequire(join(folder, 'package.json'));
  let manifestPath;
  try {
    manifestPath = join(require.resolve.paths('node-llama-cpp')[0], 'node-llama-cpp', 'package.json');
    const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
    const entry = join(dirname(manifestPath), manifest.exports['.'].import ?? manifest.main);
    return { ...(await import(pathToFileURL(entry).href)), version: manifest.version };
  } catch (error) {
    const missing = error.code === 'ENOENT' ? `not found at ${manifestPath}` : error.message;
    console.error(`node-llama-cpp: ${missing}. Install it: npm ci --prefix bench/peers`);
    process.exit(2);
  }
}
