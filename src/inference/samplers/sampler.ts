/** The device side of sampling: bound sessions by what the rows of a step need. */
import type { Compiler } from '../../engine/compiler.js';
import type { Binding, Tensor, TensorMap } from '../../engine/runtime/types.js';
import { sha256OfJson } from '../../support/hash.js';
import { uniformAt } from '../../support/random.js';
import { minP } from './min-p.js';
import type { LogitsProcessor, SamplingStep } from './processor.js';
import { createRepetitionPenalty } from './repetition-penalty.js';
import { buildSamplingGraph, LARGEST_UNIFORM, type SamplingShape, type SamplingStage } from './sampling-graph.js';
import { isGreedy } from './settings.js';
import { temperature } from './temperature.js';
import { topK } from './top-k.js';
import { topP } from './top-p.js';

export interface SamplerOptions {
  readonly vocabSize: number;
  /** Ids that are never drawn. */
  readonly unnamed: readonly number[];
  /** Beside the built-in ones, each at its position. */
  readonly processors: readonly LogitsProcessor[];
}

export interface Sampler {
  /** Draws one token for each row. */
  sample(step: SamplingStep): Promise<Drawn>;
  dispose(): void;
}

/** Row r of a step is entry r of each array. */
interface Drawn {
  readonly ids: BigInt64Array;
  readonly logprobs: Float32Array;
  /** Of the processors that took part, by name. */
  readonly statistics: Readonly<Record<string, Float32Array>>;
}

interface Bound {
  readonly binding: Binding;
  /** One an entry of `stages`. */
  readonly columns: readonly TensorMap[];
  readonly checks: readonly (Tensor<'float32'> | undefined)[];
  readonly uniforms: Tensor<'float32'> | undefined;
  readonly ids: Tensor<'int64'>;
  readonly logprobs: Tensor<'float32'>;
  readonly statistics: Readonly<Record<string, Tensor<'float32'>>>;
  readonly owned: readonly Tensor[];
}

/** A sampler; the logits it is given at one batch must always be the same tensor. */
export function createSampler(compiler: Compiler, { vocabSize, unnamed, processors }: SamplerOptions): Sampler {
  const at = (position: LogitsProcessor['position']) =>
    processors.filter((processor) => (processor.position ?? 'beforeTruncation') === position);
  const order = [
    createRepetitionPenalty(),
    ...at('beforeTemperature'),
    temperature,
    ...at('beforeTruncation'),
    topK,
    topP,
    minP,
    ...at('afterTruncation'),
  ];
  const identity = sha256OfJson({ vocabSize, unnamed });
  const bound = new Map<string, Bound>();

  const stagesOf = ({ sequences }: SamplingStep, greedy: boolean): SamplingStage[] =>
    order
      .filter((processor) => !(greedy && processor === minP)) // the likeliest token is taken anyway
      .filter((processor) => processor.isNeeded(sequences))
      .map((processor) => ({ processor, size: processor.size(sequences, vocabSize) }));

  const bind = (step: SamplingStep, stages: readonly SamplingStage[], greedy: boolean): Bound => {
    const { batch, logits } = step;
    const names = stages.map(({ processor, size }) => `${processor.name}${processor.variant ?? ''}=${size}`).join();
    const key = `${batch}/${greedy ? 'greedy' : 'sampled'}/${names}`;
    const known = bound.get(key);
    if (known !== undefined) return known;
    const shape: SamplingShape = { batch, vocabSize, stages, greedy, unnamed };
    const made = bindSampling(compiler, `sample/${identity}/${key}`, shape, logits);
    bound.set(key, made);
    return made;
  };

  const fillRows = ({ sequences }: SamplingStep, stages: readonly SamplingStage[], at: Bound, batch: number): void => {
    stages.forEach(({ processor, size }, index) => {
      const shape = { batch, vocabSize, size };
      for (let row = 0; row < sequences.length; row++) processor.fill(at.columns[index], row, sequences[row], shape);
    });
    if (at.uniforms === undefined) return;
    for (let row = 0; row < sequences.length; row++) {
      const { seed, tokens, sampler } = sequences[row];
      at.uniforms.data[row] = isGreedy(sampler) ? 0 : Math.min(uniformAt(seed, tokens.length), LARGEST_UNIFORM);
    }
  };

  /** The stages with more room where a processor found it had too little. */
  const widened = (step: SamplingStep, stages: readonly SamplingStage[], at: Bound): SamplingStage[] | undefined => {
    let isWider = false;
    const next = stages.map((stage, index) => {
      const shape = { batch: step.batch, vocabSize, size: stage.size };
      const check = at.checks[index];
      const size = check && stage.processor.retry?.(check.data, step.sequences, shape);
      isWider ||= size !== undefined;
      return size === undefined ? stage : { ...stage, size };
    });
    return isWider ? next : undefined;
  };

  return {
    async sample(step) {
      const greedy = step.sequences.every(({ sampler }) => isGreedy(sampler));
      let stages: readonly SamplingStage[] | undefined = stagesOf(step, greedy);
      for (;;) {
        const at = bind(step, stages, greedy);
        fillRows(step, stages, at, step.batch);
        for (let index = 0; index < stages.length; index++) {
          await stages[index].processor.prepare?.(step, at.columns[index]);
        }
        await at.binding.run();
        stages = widened(step, stages, at);
        if (stages === undefined) {
          const numbers = Object.entries(at.statistics).map(([name, tensor]) => [name, tensor.data] as const);
          return { ids: at.ids.data, logprobs: at.logprobs.data, statistics: Object.fromEntries(numbers) };
        }
      }
    },
    dispose() {
      for (const { binding, owned } of bound.values()) {
        binding.dispose();
        for (const tensor of owned) tensor.dispose();
      }
      bound.clear();
    },
  };
}

function bindSampling(compiler: Compiler, key: string, shape: SamplingShape, logits: Tensor<'float32'>): Bound {
  const { runtime } = compiler;
  const { batch, vocabSize, stages, greedy } = shape;
  const owned: Tensor[] = [];
  const own = <T extends Tensor>(tensor: T): T => {
    owned.push(tensor);
    return tensor;
  };
  const named: Record<string, Tensor> = { logits };
  const columns = stages.map(({ processor, size }) => {
    const types = Object.entries(processor.columns({ batch, vocabSize, size }));
    const supplied = processor.supplied?.(batch) ?? {};
    return Object.fromEntries(
      types.map(([name, { dtype, shape: extents }]) => {
        const tensor = supplied[name] ?? own(runtime.tensor(dtype, extents));
        named[`${processor.name}.${name}`] = tensor;
        return [name, tensor];
      }),
    );
  });
  const checks = stages.map(({ processor }) => {
    if (processor.retry === undefined) return undefined;
    const check = own(runtime.tensor('float32', [batch, 1]));
    named[`${processor.name}.check`] = check;
    return check;
  });
  const statistics = Object.fromEntries(
    stages.flatMap(({ processor }) =>
      (processor.statistics ?? []).map((name) => {
        const tensor = own(runtime.tensor('float32', [batch, 1]));
        named[`statistics.${name}`] = tensor;
        return [name, tensor] as const;
      }),
    ),
  );
  const uniforms = greedy ? undefined : own(runtime.tensor('float32', [batch, 1]));
  const ids = own(runtime.tensor('int64', [batch]));
  const logprobs = own(runtime.tensor('float32', [batch, 1]));
  if (uniforms !== undefined) named.uniforms = uniforms;
  const binding = compiler.bind(
    key,
    (g) => buildSamplingGraph(g, shape),
    { ...named, ids, logprobs },
    { constantWeights: true },
  );
  return { binding, columns, checks, uniforms, ids, logprobs, statistics, owned };
}
