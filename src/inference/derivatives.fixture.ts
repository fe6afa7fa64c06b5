/** What a runner along a direction gives, as derivatives of log-probabilities and of logits. */
import type { Value } from '../engine/graph/types.js';
import type { Precision } from '../engine/onnx/emitter.js';
import type { Tensor } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import type { StepRunner } from './step-runner.js';
import { movedHeadTensors, movedHeadTypes, movedLogits, movedLogprobs } from './tangent-graph.js';

/** Reads the last step of `batch` rows: d/dε ln p(· | tokens; θ + ε·direction), or of the logits, [batch, V]. */
export function derivativeReader(
  model: LanguageModel,
  direction: ReadonlyMap<string, Tensor<'float32'>>,
  {
    runner,
    batch,
    precision,
    of = 'logprobs',
  }: { runner: StepRunner; batch: number; precision?: Precision; of?: 'logprobs' | 'logits' | undefined },
): { read(): Promise<Float32Array>; dispose(): void } {
  const { compiler, config } = model;
  const tensors = movedHeadTensors(model, direction, runner.results(batch));
  const derivatives = compiler.runtime.tensor('float32', [batch, config.vocabSize]);
  const binding = compiler.bind(
    `derivatives/${of}/${batch}/${model.architectureKey}`,
    (g) => {
      const types = movedHeadTypes(config, batch);
      const input = (name: keyof typeof types): Value => g.input(name, types[name].dtype, types[name].shape);
      const source = Object.fromEntries(Object.keys(types).map((name) => [name, input(name as keyof typeof types)]));
      const moved = of === 'logits' ? movedLogits : movedLogprobs;
      g.output('derivatives', moved(g, config, source as Record<keyof typeof types, Value>));
    },
    { ...tensors, derivatives },
    { constantWeights: true, precision },
  );
  return {
    async read() {
      await binding.run();
      return derivatives.data.slice();
    },
    dispose() {
      binding.dispose();
      derivatives.dispose();
    },
  };
}
