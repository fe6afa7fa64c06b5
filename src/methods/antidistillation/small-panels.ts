/**
 * The parts of a gradient that hardly move a proxy. Most of a gradient's squares are in few of its numbers: half of the weights of layers, and
 * nearly all tokens of a head, hold a hundredth of them. Kernels skip panels of a direction that are zero.
 */
import type { Precision } from '../../engine/onnx/emitter.js';
import type { LanguageModel } from '../../model/language-model.js';
import { EMBEDDING, sizeOfShape } from '../../model/parameters.js';
import type { GradientReader } from './proxy.js';

/** Rows of a matrix that kernels compute together (kernels/decode_linear.h). */
const PANEL_ROWS = 32;

/** Numbers of the smallest proxy that is worth it. Smaller ones stay in caches, and their teachers round less than leaving out would do. */
const FEWEST = 2 ** 23;

/** Squares of what is left out, of ‖g‖²; what that does to Δ: docs/decisions/0010. */
const LEFT_OUT = 0.01;

interface Panel {
  readonly name: string;
  /** First and last number (exclusive). */
  readonly from: number;
  readonly to: number;
  readonly squares: number;
}

function sumOfSquares(values: Float32Array, from: number, to: number): number {
  let sum = 0;
  for (let index = from; index < to; index++) sum += values[index] * values[index];
  return sum;
}

/** All panels of matrices that are multiplied with, and ‖g‖² of everything. The gradient is read a parameter at a time. */
function panelsOf({ compiler, config, parameters }: LanguageModel, readGradient: GradientReader) {
  const largest = Math.max(...[...parameters.values()].map(({ shape }) => sizeOfShape(shape)));
  const memory = compiler.runtime.tensor('float32', [largest]);
  const panels: Panel[] = [];
  let total = 0;
  try {
    for (const [name, { shape }] of parameters) {
      const values = memory.data.subarray(0, sizeOfShape(shape));
      readGradient(name, values);
      // Rows of an embedding are looked up; only a tied head multiplies with it.
      const isMultiplied = shape.length === 2 && (name !== EMBEDDING || config.tiedHead);
      const size = isMultiplied ? PANEL_ROWS * shape[1] : values.length;
      for (let from = 0; from < values.length; from += size) {
        const to = Math.min(from + size, values.length);
        const squares = sumOfSquares(values, from, to);
        total += squares;
        if (isMultiplied) panels.push({ name, from, to, squares });
      }
    }
  } finally {
    memory.dispose();
  }
  return { panels, total };
}

const density = ({ squares, from, to }: Panel): number => squares / (to - from);

/** Panels with the least squares a number, together at most `LEFT_OUT` of those of all parameters. */
function smallPanels(model: LanguageModel, readGradient: GradientReader): Panel[] {
  const { panels, total } = panelsOf(model, readGradient);
  panels.sort((a, b) => density(a) - density(b));
  let sum = 0;
  const end = panels.findIndex(({ squares }) => {
    sum += squares;
    return !(sum <= LEFT_OUT * total);
  });
  return panels.slice(0, end < 0 ? panels.length : end);
}

/** The gradient with zeros in its small panels. */
export function withoutSmallPanels(model: LanguageModel, readGradient: GradientReader): GradientReader {
  const leftOut = new Map<string, Panel[]>();
  for (const panel of smallPanels(model, readGradient)) {
    const others = leftOut.get(panel.name);
    if (others === undefined) leftOut.set(panel.name, [panel]);
    else others.push(panel);
  }
  return (name, into) => {
    readGradient(name, into);
    for (const { from, to } of leftOut.get(name) ?? []) into.fill(0, from, to);
  };
}

/** The direction of the exact derivative in a precision: the gradient, in bfloat16 of large proxies without its small panels. */
export function directionReader(
  model: LanguageModel,
  precision: Precision,
  readGradient: GradientReader,
): GradientReader {
  const size = [...model.parameters.values()].reduce((sum, { shape }) => sum + sizeOfShape(shape), 0);
  return precision === 'bfloat16' && size >= FEWEST ? withoutSmallPanels(model, readGradient) : readGradient;
}
