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

/** For each 16 bits of 16 rows that lie one after the other, where they are in the group. */
function placesOf(format: number, rowBytes: number): Uint32Array {
  const [blockBytes, numHalves, halvesAt] = FORMATS[format];
  const [row, block, first] = [rowBytes / 2, blockBytes / 2, halvesAt / 2];
  return Uint32Array.from({ length: GROUP * row }, (_, index) => {
    const of = Math.floor(index / row);
    const at = index % block;
    const start = (index % row) - at;
    if (at >= first && at < first + numHalves) return GROUP * (start + at) + of;
    const second = (at - (first === 0 ? numHalves : 0)) % 2;
    return GROUP * (start + at - second) + 2 * of + second;
  });
}

const halvesOf = (bytes: Uint8Array): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

/** Brings a matrix as it lies in a file into groups, in place. */
export function groupRows(bytes: Uint8Array, format: number, numRows: number): void {
  const places = placesOf(format, bytes.length / numRows);
  const all = halvesOf(bytes);
  for (let start = 0; start + places.length <= all.length; start += places.length) {
    const group = all.slice(start, start + places.length);
    for (let index = 0; index < group.length; index++) all[start + places[index]] = group[index];
  }
}

/** A copy as it lies in a file. */
export function ungroupRows(bytes: Uint8Array, format: number, numRows: number): Uint8Array {
  const places = placesOf(format, bytes.length / numRows);
  const all = halvesOf(bytes);
  const copy = all.slice();
  for (let start = 0; start + places.length <= all.length; start += places.length) {
    for (let index = 0; index < places.length; index++) copy[start + index] = all[start + places[index]];
  }
  return new Uint8Array(copy.buffer);
}
