/**
 * Where kernels find the blocks of a stored matrix: rows go in groups of 16; a group holds a block of each row, then the next of each, and
 * of 16 blocks together 16 times the first unit, 16 times the second, … A unit is four bytes of a block, or two where they are a half. The
 * last rows, if fewer than 16, lie as in a file: row after row.
 */

const GROUP = 16;

/** Bytes of a block, its halves that are units of their own, and the byte at which they begin; by number of the format. */
const FORMATS: Readonly<Record<number, readonly [blockBytes: number, numHalves: number, halvesAt: number]>> = {
  2: [18, 1, 0],
  3: [20, 2, 0],
  6: [22, 1, 0],
  7: [24, 2, 0],
  8: [34, 1, 0],
  12: [144, 2, 0],
  13: [176, 2, 0],
  14: [210, 1, 208],
};

/** A row's units: the 16 bits at which each begins. */
interface Units {
  readonly fours: Uint32Array;
  readonly halves: Uint32Array;
}

function unitsOf(format: number, rowBytes: number): Units {
  const [blockBytes, numHalves, halvesAt] = FORMATS[format];
  const fours: number[] = [];
  const halves: number[] = [];
  for (let block = 0; block < rowBytes; block += blockBytes) {
    for (let at = 0; at < blockBytes; ) {
      const isHalf = at >= halvesAt && at < halvesAt + 2 * numHalves;
      (isHalf ? halves : fours).push((block + at) / 2);
      at += isHalf ? 2 : 4;
    }
  }
  return { fours: Uint32Array.from(fours), halves: Uint32Array.from(halves) };
}

const inHalves = (bytes: Uint8Array): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

/** Brings a matrix as it lies in a file into groups, in place. */
export function groupRows(bytes: Uint8Array, format: number, numRows: number): void {
  const width = bytes.length / numRows / 2;
  const { fours, halves } = unitsOf(format, 2 * width);
  const all = inHalves(bytes);
  const pairs = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  const group = new Uint16Array(GROUP * width);
  for (let start = 0; start + group.length <= all.length; start += group.length) {
    group.set(all.subarray(start, start + group.length));
    for (let row = 0, from = 0; row < GROUP; row++, from += width) {
      const to = start / 2 + row;
      for (let unit = 0; unit < fours.length; unit++) {
        const at = fours[unit];
        pairs[to + (GROUP / 2) * at] = group[from + at] | (group[from + at + 1] << 16);
      }
      for (const at of halves) all[start + GROUP * at + row] = group[from + at];
    }
  }
}

/** A copy as it lies in a file. */
export function ungroupRows(bytes: Uint8Array, format: number, numRows: number): Uint8Array {
  const width = bytes.length / numRows / 2;
  const { fours, halves } = unitsOf(format, 2 * width);
  const all = inHalves(bytes);
  const copy = all.slice();
  for (let start = 0; start + GROUP * width <= all.length; start += GROUP * width) {
    for (let row = 0, to = start; row < GROUP; row++, to += width) {
      for (const at of fours) {
        copy[to + at] = all[start + GROUP * at + 2 * row];
        copy[to + at + 1] = all[start + GROUP * at + 2 * row + 1];
      }
      for (const at of halves) copy[to + at] = all[start + GROUP * at + row];
    }
  }
  return new Uint8Array(copy.buffer);
}
