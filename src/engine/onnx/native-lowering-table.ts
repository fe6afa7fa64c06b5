/**
 * The second lowering table, which stands before the composite one: an op as native kernels, where the runtime has them and the
 * shapes and the precision suit. A row that declines leaves the op to the composite. Models and differentiation rules know
 * nothing of it.
 */
import type { OpKind } from '../graph/catalogue.js';
import { lowerAttention, lowerAttentionBackward, lowerReshape, lowerRotary } from './native/attention.js';
import {
  floatAttention,
  floatAttentionBackward,
  floatAttentionTangent,
  floatCachedAttention,
  floatCachedAttentionTangent,
  floatRmsNorm,
  floatRmsNormBackward,
  floatRmsNormTangent,
  floatRotary,
  floatSwiglu,
  floatSwigluBackward,
  floatSwigluTangent,
} from './native/float.js';
import { floatLinear } from './native/float-linear.js';
import { lowerSwiglu, lowerSwigluBackward } from './native/gated.js';
import { lowerHeadLoss, lowerHeadLossBackward } from './native/head.js';
import { lowerLinear, lowerLinearInputGradient, lowerLinearWeightGradient } from './native/linear.js';
import type { NativeLoweringTable } from './native/lowering.js';
import { lowerRmsNorm, lowerRmsNormBackward } from './native/norm.js';
import { lowerAdamw, lowerScatterAddRows } from './native/optimizer.js';
import { selectLowerings } from './native/select.js';
import { lowerAdd } from './native/sum.js';
import { vocabularyLowerings } from './native/vocabulary.js';

export const nativeLoweringTable: NativeLoweringTable = {
  ...vocabularyLowerings,
  ...selectLowerings,
  add: [...vocabularyLowerings.add, lowerAdd],
  reshape: [lowerReshape],
  scatterAddRows: [lowerScatterAddRows],
  linear: [lowerLinear, floatLinear],
  linearInputGradient: [lowerLinearInputGradient],
  linearWeightGradient: [lowerLinearWeightGradient],
  rmsNorm: [lowerRmsNorm, floatRmsNorm],
  rmsNormBackward: [lowerRmsNormBackward, floatRmsNormBackward],
  swiglu: [lowerSwiglu, floatSwiglu],
  swigluBackward: [lowerSwigluBackward, floatSwigluBackward],
  rotary: [lowerRotary, floatRotary],
  attention: [lowerAttention, floatAttention],
  attentionBackward: [lowerAttentionBackward, floatAttentionBackward],
  headLoss: [lowerHeadLoss],
  headLossBackward: [lowerHeadLossBackward],
  adamw: [lowerAdamw],
  rmsNormTangent: [floatRmsNormTangent],
  swigluTangent: [floatSwigluTangent],
  attentionTangent: [floatAttentionTangent],
  cachedAttention: [floatCachedAttention],
  cachedAttentionTangent: [floatCachedAttentionTangent],
};

/**
 * Ops whose nodes are emitted when something asks for their results, not in the order of the graph: what asks may absorb them
 * into a kernel of its own.
 */
export const deferredKinds: ReadonlySet<OpKind> = new Set<OpKind>([
  'add',
  'multiply',
  'fill',
  'reshape',
  'rotary',
  'linear',
  'linearInputGradient',
  'linearWeightGradient',
  'swiglu',
  'swigluBackward',
  'rmsNormBackward',
]);
