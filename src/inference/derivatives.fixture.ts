/** What a runner along a direction gives, as derivatives of log-probabilities. */
import type { Precision } from '../engine/onnx/emitter.js';
import type { Tensor } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import { headParameterName } from '../model/parameters.js';
import type { StepRunner } from './step-runner.js';
import { movedLogprobs, tangentName } from './tangent-graph.js';

/** Reads the last step of `batch` rows: d/dε ln p(· | tokens; θ + ε·direction), [batch, V]. */
export function derivativeReader(
  model: LanguageModel,
  direction: ReadonlyMap<string, Tensor<'float32'>>,
  { runner, batch, precision }: { runner: StepRunner; batch: number; precision?: Precision },
): { read(): Promise<Float32Array>; dispose(): void } {
  const { compiler, config, parameters } = model;
  const { vocabSize, hiddenSize } = config;
  const name = headParameterName(config);
  const { hidden, [tangentName('hidden')]: tangentHidden } = runner.results(batch);
  const derivatives = compiler.runtime.tensor('float32', [batch, vocabSize]);
  const binding = compiler.bind(
    `derivatives/${batch}/${vocabSize}x${hiddenSize}`,
    (g) => {
      const states = (input: string) => g.input(input, 'float32', [batch, hiddenSize]);
      const matrix = (input: string) => g.input(input, 'float32', [vocabSize, hiddenSize]);
      const source = {
        hidden: states('hidden'),
        head: matrix('head'),
        tangentHidden: states('tangentHidden'),
        tangentHead: matrix('tangentHead'),
      };
      g.output('derivatives', movedLogprobs(g, source));
    },
    { hidden, tangentHidden, head: parameters.get(name)!, tangentHead: direction.get(name)!, derivatives },
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
