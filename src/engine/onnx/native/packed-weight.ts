/** Weights in the form that the kernels of decoding read: bfloat16 panels of 32 output features (kernels/decode_pack_amx.c). */
import type { Shape } from '../../graph/types.js';
import type { CompiledModel } from '../../runtime/types.js';
import { writeOnnxModel } from '../model-writer.js';

const PANEL = 32;

const roundUp = (n: number): number => Math.ceil(n / PANEL) * PANEL;

/** Shape of the packed form of a weight [N, K]. */
export const packedShape = ([n, k]: Shape): Shape => [roundUp(n) * roundUp(k)];

/** Inputs w0, w1, … [N, K] float32; outputs p0, p1, …, their packed forms. */
export function packingModel(shapes: readonly Shape[]): CompiledModel {
  const inputs = shapes.map((shape, index) => ({ name: `w${index}`, dtype: 'float32', shape }) as const);
  const outputs = shapes.map(
    (shape, index) => ({ name: `p${index}`, dtype: 'bfloat16', shape: packedShape(shape) }) as const,
  );
  const nodes = shapes.map((_, index) => ({
    op: 'DecodePack',
    domain: 'azeotrope',
    inputs: [`w${index}`],
    outputs: [`p${index}`],
    attributes: {},
  }));
  return {
    bytes: writeOnnxModel({ nodes, inputs, outputs, initializers: [], valueInfo: [] }),
    inputs: Object.fromEntries(inputs.map(({ name, ...type }) => [name, type])),
    outputs: Object.fromEntries(outputs.map(({ name, ...type }) => [name, { ...type, inPlaceOf: undefined }])),
  };
}
