/** A teacher's next-token distributions in few numbers: its likeliest tokens one by one, all others as one cell. */
import { invariant } from '../../support/errors.js';

/** Distributions that predict the response tokens of one row, P of them. */
export interface Cells {
  /** [P, k] token ids. */
  readonly ids: Int32Array;
  /** [P, k] ln p of them. */
  readonly logprobs: Float32Array;
  /** [P] mass of all other tokens. */
  readonly tails: Float32Array;
}

/** Log-probabilities are stored in steps of 1/2048 nat down to −32: an error of at most 0.00025. */
const STEPS_PER_NAT = 2048;
const LOWEST_CODE = 65_535;

/** Bytes of one position: ids of 2 bytes where the vocabulary allows, else 4, and 2 for each log-probability and for the tail. */
export const bytesPerPosition = (topK: number, vocabSize: number): number => topK * (idBytes(vocabSize) + 2) + 2;

const idBytes = (vocabSize: number): 2 | 4 => (vocabSize <= 65_536 ? 2 : 4);

/** Little-endian, position after position: k ids, k codes, the code of the tail. */
export function encodeCells({ ids, logprobs, tails }: Cells, vocabSize: number): Uint8Array {
  const topK = ids.length / tails.length;
  const bytes = Buffer.alloc(tails.length * bytesPerPosition(topK, vocabSize));
  const width = idBytes(vocabSize);
  let at = 0;
  for (let position = 0; position < tails.length; position++) {
    for (let rank = 0; rank < topK; rank++) at = bytes.writeUIntLE(ids[position * topK + rank], at, width);
    for (let rank = 0; rank < topK; rank++) at = bytes.writeUInt16LE(codeOf(logprobs[position * topK + rank]), at);
    at = bytes.writeUInt16LE(codeOf(Math.log(tails[position])), at);
  }
  return bytes;
}

/** The cells again, each position rescaled to a total mass of 1, which the rounding of the codes had moved. */
export function decodeCells(bytes: Buffer, { topK, vocabSize }: { topK: number; vocabSize: number }): Cells {
  const numPositions = bytes.length / bytesPerPosition(topK, vocabSize);
  invariant(Number.isInteger(numPositions), `${bytes.length} bytes are no whole number of positions`);
  const width = idBytes(vocabSize);
  const ids = new Int32Array(numPositions * topK);
  const logprobs = new Float32Array(numPositions * topK);
  const tails = new Float32Array(numPositions);
  let at = 0;
  for (let position = 0; position < numPositions; position++) {
    const start = position * topK;
    for (let rank = 0; rank < topK; rank++, at += width) ids[start + rank] = bytes.readUIntLE(at, width);
    const values: number[] = [];
    for (let rank = 0; rank < topK; rank++, at += 2) values.push(-bytes.readUInt16LE(at) / STEPS_PER_NAT);
    const code = bytes.readUInt16LE(at);
    at += 2;
    const tail = code === LOWEST_CODE ? 0 : Math.exp(-code / STEPS_PER_NAT);
    const total = values.reduce((sum, value) => sum + Math.exp(value), tail);
    values.forEach((value, rank) => {
      logprobs[start + rank] = value - Math.log(total);
    });
    tails[position] = tail / total;
  }
  return { ids, logprobs, tails };
}

/** Of a log-probability; −∞ and anything below −32 is the lowest code. */
const codeOf = (logprob: number): number => Math.min(LOWEST_CODE, Math.max(0, Math.round(-logprob * STEPS_PER_NAT)));
