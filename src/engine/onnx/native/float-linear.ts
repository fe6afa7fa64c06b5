/** Linear layers in float32 of few rows, as steps of decoding have them, and of any number in sampling and scoring (kernels/float_linear_each.c). */
import type { Node } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import { withTangent } from '../moved-linear.js';

/** Beyond, the runtime's product, which packs the weight, is the faster. */
const MOST_ROWS = 64;

export function floatLinear(e: Emitter, node: Node<'linear'>): boolean {
  const [y] = node.outputs;
  const { kernels, rowsApart } = e.options;
  if ((y.shape[0] > MOST_ROWS && !rowsApart) || !kernels.has('FloatLinear')) return false;
  const name = withTangent(e, node, ({ x, numRows, weight, bias }) => {
    const inputs = bias === undefined ? [x, weight] : [x, weight, bias];
    return e.native('FloatLinear', inputs, {}, [{ type: 'float32', shape: [numRows, y.shape[1]] }])[0];
  });
  e.bind(y, name);
  return true;
}
