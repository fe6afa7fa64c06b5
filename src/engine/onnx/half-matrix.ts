/**
 * The form in which native kernels exchange values: a bfloat16 matrix [rows, stride], of which `width` columns from `offset` on
 * are the value's and the columns up to the next multiple of 32 are zeros, so that products can run over whole tiles. Several
 * values may be column ranges of one matrix.
 */
import type { Shape } from '../graph/types.js';
import type { ElementType } from './model-writer.js';

export interface HalfMatrix {
  readonly name: string;
  readonly rows: number;
  readonly width: number;
  readonly offset: number;
  readonly stride: number;
}

/** Columns of a tile. */
export const TILE = 32;

export const roundUp = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** A value as a matrix: all axes but the last are rows. */
export function matrixOf(shape: Shape): { rows: number; width: number } {
  const width = shape.length === 0 ? 1 : shape[shape.length - 1];
  return { rows: shape.slice(0, -1).reduce((a, b) => a * b, 1), width };
}

/** Type of a matrix that is to be made, and the way to name it. */
export function halfMatrix(
  rows: number,
  width: number,
): { output: { type: ElementType; shape: Shape }; named(name: string): HalfMatrix } {
  const stride = roundUp(width, TILE);
  return {
    output: { type: 'bfloat16', shape: [rows, stride] },
    named: (name) => ({ name, rows, width, offset: 0, stride }),
  };
}

/**
 * The same elements seen as a matrix of another width, where that takes no copy: the same width, or (for a matrix without padding
 * or neighbours) one that tiles divide.
 */
export function viewedHalf(half: HalfMatrix, width: number): HalfMatrix | undefined {
  if (width === half.width) return half;
  const isWhole = half.offset === 0 && half.stride === half.width;
  const rows = (half.rows * half.width) / width;
  return isWhole && width % TILE === 0 ? { ...half, rows, width, stride: width } : undefined;
}
