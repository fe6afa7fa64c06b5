/** float16 and bfloat16 to float32 and back. Widening is exact; narrowing rounds to nearest, ties to even. */

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

let table: Float32Array | undefined;

/** The float32 value of each of the 65,536 float16 bit patterns (256 kB, made on first use). */
export function halfTable(): Float32Array {
  if (table) return table;
  const values = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) values[bits] = halfValue(bits);
  table = values;
  return values;
}

function halfValue(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Widens float16 bit patterns into `into` from `start` on. */
export function widenHalf(source: Uint16Array, into: Float32Array, start: number): void {
  const values = halfTable();
  for (let index = 0; index < source.length; index++) into[start + index] = values[source[index]];
}

/** Widens bfloat16 bit patterns (the upper half of a float32); `intoBits` is a Uint32Array over the destination. */
export function widenBrain(source: Uint16Array, intoBits: Uint32Array, start: number): void {
  for (let index = 0; index < source.length; index++) intoBits[start + index] = source[index] << 16;
}

/** Bit pattern of the bfloat16 nearest to a float32 given as bits; NaN stays NaN. */
export function brainBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Bit pattern of the float16 nearest to a value; too large becomes infinity. */
export function halfBits(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 2^16 and above, infinity
  if (magnitude < 0x38800000) return sign | roundToEven(Math.abs(scratchFloat[0]) * 2 ** 24); // below 2^-14: subnormal
  // Rebias the exponent by 127 - 15 and round the 13 dropped bits; a carry into the exponent is right, up to infinity.
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
