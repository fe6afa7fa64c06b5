/** A teacher's distributions on disk: paid for once, read by every student. */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { z } from 'zod';
import { DataError } from '../../support/errors.js';
import { writeFileAtomic } from '../../support/files.js';
import { sha256OfJson } from '../../support/hash.js';
import { numResponseTokens, type TrainingExample } from '../../training/batches.js';
import { bytesPerPosition, type Cells, decodeCells, encodeCells } from './cells.js';

const MAGIC = 'azeotrope-cells\n';
const FORMAT_VERSION = 1;

const headerSchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  topK: z.int().min(1),
  vocabSize: z.int().min(1),
  temperature: z.number().positive(),
  /** Of teacher and rows. */
  identity: z.string(),
  /** Response tokens of each row, in the order of the file. */
  rows: z.array(z.object({ id: z.string(), numPositions: z.int().min(1) })),
});

type Header = z.output<typeof headerSchema>;

export interface CellCache {
  readonly topK: number;
  readonly temperature: number;
  readonly sizeBytes: number;
  /** Errors: DataError for a row the cache does not have. */
  read(row: TrainingExample): Cells;
  dispose(): void;
}

export interface CellCacheContent {
  readonly topK: number;
  readonly vocabSize: number;
  readonly temperature: number;
  /** Names the teacher: a cache of another one is not read. */
  readonly teacher: string;
  readonly examples: readonly TrainingExample[];
}

/** What a cache of these rows is known by. */
export const cellIdentity = ({ examples, ...rest }: CellCacheContent): string =>
  sha256OfJson({ ...rest, rows: examples.map(({ id, tokens, responseStart }) => ({ id, tokens, responseStart })) });

/**
 * Writes the file whole: magic, length of the header (4 bytes), header as JSON, then the cells of each row. `cellsOf` is asked for
 * batches of rows in their order. Errors: DataError for ids that repeat.
 */
export async function writeCellCache(
  path: string,
  content: CellCacheContent,
  cellsOf: (examples: readonly TrainingExample[]) => Promise<readonly Cells[]>,
): Promise<void> {
  const { topK, vocabSize, temperature, examples } = content;
  const seen = new Set<string>();
  const repeated = examples.find(({ id }) => seen.size === seen.add(id).size);
  if (repeated !== undefined)
    throw new DataError(
      `Row "${repeated.id}" stands twice; the teacher's distributions are kept by id. Make ids differ.`,
    );
  const header: Header = {
    formatVersion: FORMAT_VERSION,
    topK,
    vocabSize,
    temperature,
    identity: cellIdentity(content),
    rows: examples.map((example) => ({ id: example.id, numPositions: numResponseTokens(example) })),
  };
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    yield Buffer.concat([Buffer.from(MAGIC), length, json]);
    for (let start = 0; start < examples.length; start += ROWS_AT_ONCE) {
      for (const cells of await cellsOf(examples.slice(start, start + ROWS_AT_ONCE)))
        yield encodeCells(cells, vocabSize);
    }
  }
  await writeFileAtomic(path, chunks());
}

const ROWS_AT_ONCE = 256;

/** True where a file holds exactly this; what is missing, damaged or of another teacher or rows does not. */
export function holdsCells(path: string, content: CellCacheContent): boolean {
  if (!existsSync(path)) return false;
  try {
    const cache = openFile(path);
    closeSync(cache.file);
    return cache.header.identity === cellIdentity(content);
  } catch (error) {
    if (error instanceof DataError) return false;
    throw error;
  }
}

/** Opens a cache for reading. Errors: DataError where it is damaged. */
export function openCellCache(path: string): CellCache {
  const { file, header, start, sizeBytes } = openFile(path);
  const { topK, vocabSize, temperature } = header;
  const places = new Map<string, { at: number; numPositions: number }>();
  let at = start;
  for (const { id, numPositions } of header.rows) {
    places.set(id, { at, numPositions });
    at += numPositions * bytesPerPosition(topK, vocabSize);
  }
  return {
    topK,
    temperature,
    sizeBytes,
    read(row) {
      const place = places.get(row.id);
      const expected = numResponseTokens(row);
      if (place === undefined || place.numPositions < expected)
        throw new DataError(
          `${path}: row "${row.id}" has ${place?.numPositions ?? 'no'} positions here, ${expected} response tokens in the data. Remove the file to make it anew.`,
        );
      const bytes = Buffer.alloc(expected * bytesPerPosition(topK, vocabSize));
      readSync(file, bytes, 0, bytes.length, place.at);
      return decodeCells(bytes, { topK, vocabSize });
    },
    dispose: () => closeSync(file),
  };
}

function openFile(path: string): { file: number; header: Header; start: number; sizeBytes: number } {
  const file = openSync(path, 'r');
  try {
    const sizeBytes = statSync(path).size;
    const prefix = Buffer.alloc(MAGIC.length + 4);
    readSync(file, prefix, 0, prefix.length, 0);
    const length = prefix.toString('latin1', 0, MAGIC.length) === MAGIC ? prefix.readUInt32LE(MAGIC.length) : 0;
    const start = prefix.length + length;
    if (length === 0 || start > sizeBytes) throw damaged(path);
    const json = Buffer.alloc(length);
    readSync(file, json, 0, length, prefix.length);
    const header = headerSchema.parse(JSON.parse(json.toString()));
    const numPositions = header.rows.reduce((sum, row) => sum + row.numPositions, 0);
    if (sizeBytes !== start + numPositions * bytesPerPosition(header.topK, header.vocabSize)) throw damaged(path);
    return { file, header, start, sizeBytes };
  } catch (error) {
    closeSync(file);
    throw error instanceof SyntaxError || error instanceof z.ZodError ? damaged(path) : error;
  }
}

const damaged = (path: string): DataError =>
  new DataError(`${path}: not a whole file of a teacher's distributions. Remove it to make it anew.`);
