/**
 * Weights in the forms that kernels read, made apart from the graphs that read them. For decoding: panels of 32 output features, in
 * bfloat16, in 8 bits with a scale for each 32, and as directions that weights move along in 5 bits with an exponent for each 32
 * (kernels/decode_pack_half.c). For training: operands of tiles (kernels/linear_half.c).
 */
import type { Shape } from '../../graph/types.js';
import type { CompiledModel, PackedForm } from '../../runtime/types.js';
import { roundUp, TILE } from '../half-matrix.js';
import { writeOnnxModel } from '../model-writer.js';

/** Weights [O_i, I] in one form. */
export interface PackedShapes {
  readonly form: PackedForm;
  readonly shapes: readonly Shape[];
}

/** Elements of a packed tile. */
const TILE_ELEMENTS = 512;

/** What makes the forms of one weight, and its numbers of memory for each number of the weight. */
const OF_ONE = {
  weight: { op: 'DecodePack', ratio: 1 },
  bytes: { op: 'DecodePackBytes', ratio: 576 / 1024 },
  direction: { op: 'DecodePackDirection', ratio: 336 / 1024 },
} as const;

const isOfOne = (form: PackedForm): form is keyof typeof OF_ONE => form in OF_ONE;

/** Shape of the packed form, in units of bfloat16. */
export function packedShape({ form, shapes }: PackedShapes): Shape {
  const rows = shapes.reduce((sum, [outputs]) => sum + roundUp(outputs, TILE), 0);
  const width = roundUp(shapes[0][1], TILE);
  // A byte for each panel of a direction, up to the next line of 64.
  const header = form === 'direction' ? roundUp(rows / TILE, 64) / 2 : 0;
  if (isOfOne(form)) return [header + rows * width * OF_ONE[form].ratio];
  return form.endsWith('forward') ? [rows / 16, width / TILE, TILE_ELEMENTS] : [width / 16, rows / TILE, TILE_ELEMENTS];
}

/** The node that makes the form. */
function packingNode(form: PackedForm, inputs: readonly string[], output: string) {
  const domain = 'azeotrope';
  if (isOfOne(form)) {
    return { op: OF_ONE[form].op, domain, inputs, outputs: [output], attributes: {} };
  }
  const isForward = form.endsWith('forward');
  const attributes = { mode: { int: form.startsWith('stacked') ? 0 : 1 }, wanted: { int: isForward ? 1 : 2 } };
  return { op: 'Pack', domain, inputs, outputs: isForward ? [output, ''] : ['', output], attributes };
}

/** Inputs w0.0, w0.1, …, w1.0, … [O, I] float32; outputs p0, p1, …: packed forms of w0.…, w1.…, …. */
export function packingModel(packs: readonly PackedShapes[]): CompiledModel {
  const inputs = packs.map(({ shapes }, pack) =>
    shapes.map((shape, index) => ({ name: `w${pack}.${index}`, dtype: 'float32', shape }) as const),
  );
  const outputs = packs.map(
    (pack, index) => ({ name: `p${index}`, dtype: 'bfloat16', shape: packedShape(pack) }) as const,
  );
  const nodes = packs.map(({ form }, index) =>
    packingNode(
      form,
      inputs[index].map(({ name }) => name),
      `p${index}`,
    ),
  );
  return {
    bytes: writeOnnxModel({ nodes, inputs: inputs.flat(), outputs, initializers: [], valueInfo: [] }),
    inputs: Object.fromEntries(inputs.flat().map(({ name, ...type }) => [name, type])),
    outputs: Object.fromEntries(outputs.map(({ name, ...type }) => [name, { ...type, inPlaceOf: undefined }])),
  };
}
