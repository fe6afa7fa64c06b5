/** Records of a data set: the rows of a JSON Lines or a Parquet file as plain objects. */
import { stat } from 'node:fs/promises';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError, messageOf } from '../../support/errors.js';
import { fileError } from '../../support/files.js';
import { readJsonl } from '../../support/jsonl.js';

/** A record and where it stands, for messages (`file:line`, or `file` and the row of a Parquet file). */
export interface DataRecord {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly where: string;
}

/** Reads every record of a file; `.parquet` is Parquet, all else JSON Lines. Errors: DataError naming file and line. */
export async function readRecords(path: string): Promise<DataRecord[]> {
  const records = path.endsWith('.parquet') ? await readParquet(path) : await readLines(path);
  if (records.length === 0) throw new DataError(`${path}: there are no rows in this file.`);
  return records;
}

async function readLines(path: string): Promise<DataRecord[]> {
  const records: DataRecord[] = [];
  for await (const { row, line } of readJsonl(path)) {
    const where = `${path}:${line}`;
    if (typeof row !== 'object' || row === null || Array.isArray(row)) {
      throw new DataError(`${where}: a row must be an object.`);
    }
    records.push({ fields: row as Record<string, unknown>, where });
  }
  return records;
}

async function readParquet(path: string): Promise<DataRecord[]> {
  try {
    await stat(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  try {
    const rows = await parquetReadObjects({ file: await asyncBufferFromFile(path), compressors });
    return rows.map((row, index) => ({ fields: withoutBigints(row), where: `${path}, row ${index}` }));
  } catch (error) {
    throw new DataError(`${path}: the file cannot be read as Parquet (${messageOf(error)}). Is it whole?`);
  }
}

/** 64-bit integers become numbers where they are exact, else their digits as text. */
function withoutBigints(row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([key, value]) => {
      if (typeof value !== 'bigint') return [key, value];
      return [key, Number.isSafeInteger(Number(value)) ? Number(value) : String(value)];
    }),
  );
}
