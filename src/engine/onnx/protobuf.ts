/** Just enough of the protocol-buffer wire format to write an ONNX model. */

const text = new TextEncoder();

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

function varint(value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

const key = (field: number, wireType: number): Uint8Array => varint(field * 8 + wireType);

/** Field of an integer (wire type 0). */
export const intField = (field: number, value: number | bigint): Uint8Array =>
  concatBytes([key(field, 0), varint(value)]);

/** Field of bytes, of text or of an embedded message (wire type 2). */
export function bytesField(field: number, content: Uint8Array | string): Uint8Array {
  const bytes = typeof content === 'string' ? text.encode(content) : content;
  return concatBytes([key(field, 2), varint(bytes.length), bytes]);
}

/** Field of a 32-bit float (wire type 5). */
export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return concatBytes([key(field, 5), bytes]);
}
