/**
 * Weights in the forms that the kernels of decoding read: panels of 32 output features, in bfloat16, and as directions that weights
 * move along in 8 bits with a scale for each 32 (kernels/decode_pack_amx.c).
 */
import type { Shape } from '../../graph/types.js';
import type { CompiledModel, PackedForm } from '../../runtime/types.js';
import { writeOnnxModel } from '../model-writer.js';

const PANEL = 32;

const roundUp = (n: number): number => Math.ceil(n / PANEL) * PANEL;

/** What makes a form, and its numbers of memory for each number of the weight. */
const FORMS = {
  weight: { op: 'DecodePack', ratio: 1 },
  direction: { op: 'DecodePackDirection', ratio: 576 / 1024 },
} as const satisfies Record<PackedForm, object>;

/** Shape of a packed form of a weight [N, K], in units of bfloat16. */
export const packedShape = ([n, k]: Shape, form: PackedForm): Shape => [roundUp(n) * roundUp(k) * FORMS[form].ratio];

export interface Packing {
  readonly shape: Shape;
  readonly form: PackedForm;
}

/** Inputs w0, w1, … [N, K] float32; outputs p0, p1, …, their packed forms. */
export function packingModel(packings: readonly Packing[]): CompiledModel {
  const inputs = packings.map(({ shape }, index) => ({ name: `w${index}`, dtype: 'float32', shape }) as const);
  const outputs = packings.map(
    ({ shape, form }, index) => ({ name: `p${index}`, dtype: 'bfloat16', shape: packedShape(shape, form) }) as const,
  );
  const nodes = packings.map(({ form }, index) => ({
    op: FORMS[form].op,
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
