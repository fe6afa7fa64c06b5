/** From a function that builds a graph to a session that runs it, compiled once. */
import { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
import { hashGraph } from './graph/hash.js';
import { compileGraph } from './onnx/compile.js';
import type { Precision } from './onnx/emitter.js';
import { SessionCache } from './runtime/session-cache.js';
import type { Binding, CompiledModel, Runtime, SessionOptions, TensorMap } from './runtime/types.js';

export interface Compiler {
  readonly runtime: Runtime;
  /** What products are computed in unless `bind` says otherwise. */
  readonly precision: Precision;
  /**
   * Attaches tensors to the session of a graph. `key` names what `build` makes (role, configuration, shape bucket): equal keys
   * must build equal graphs, and are built once; different keys whose graphs are equal share one session.
   */
  bind(key: string, build: (g: GraphBuilder) => void, tensors: TensorMap, options?: BindOptions): Binding;
  dispose(): void;
}

export interface BindOptions extends Pick<SessionOptions, 'plannedMemory'> {
  readonly precision?: Precision | undefined;
}

export interface CompilerOptions {
  /** Default: float32. bfloat16 takes effect where the runtime has kernels for it (`effectivePrecision`). */
  readonly precision?: Precision | undefined;
}

/** What a graph asked for in `precision` is computed in on this runtime: bfloat16 needs kernels for matrix units. */
export function effectivePrecision(runtime: Pick<Runtime, 'kernels'>, precision: Precision): Precision {
  return precision === 'bfloat16' && runtime.kernels.ops.has('LinearHalf') ? 'bfloat16' : 'float32';
}

/** Sessions kept: a few roles, each in a handful of shape buckets. */
const SESSION_CAPACITY = 48;

export function createCompiler(runtime: Runtime, compilerOptions: CompilerOptions = {}): Compiler {
  const defaultPrecision = effectivePrecision(runtime, compilerOptions.precision ?? 'float32');
  const sessions = new SessionCache(runtime, SESSION_CAPACITY);
  const known = new Map<string, { hash: string; compile: () => CompiledModel; names: TensorNames }>();

  const describe = (build: (g: GraphBuilder) => void) => {
    const g = createGraphBuilder();
    build(g);
    const graph = g.finish();
    return {
      hash: hashGraph(graph),
      names: {
        inputs: graph.inputs.map(({ name }) => name),
        outputs: graph.outputs.map(({ name, inPlaceOf }) => ({ name, source: inPlaceOf ?? name })),
      },
      graph,
    };
  };

  return {
    runtime,
    precision: defaultPrecision,
    bind(key, build, tensors, { precision: asked, plannedMemory } = {}) {
      const precision = asked === undefined ? defaultPrecision : effectivePrecision(runtime, asked);
      const lowering = { numThreads: runtime.numThreads, precision, kernels: runtime.kernels.ops };
      const fullKey = `${precision}/${key}`;
      let entry = known.get(fullKey);
      if (entry === undefined) {
        const { hash, names, graph } = describe(build);
        let compiled: CompiledModel | undefined = compileGraph(graph, lowering);
        const compile = () => {
          const model = compiled ?? compileGraph(describe(build).graph, lowering);
          compiled = undefined;
          return model;
        };
        entry = { hash, names, compile };
        known.set(fullKey, entry);
      }
      const session = sessions.get(`${entry.hash}/${precision}${plannedMemory ? '/planned' : ''}`, entry.compile, {
        plannedMemory,
      });
      return session.bind(
        Object.fromEntries(entry.names.inputs.map((name) => [name, tensors[name]])),
        Object.fromEntries(entry.names.outputs.map(({ name, source }) => [name, tensors[source]])),
      );
    },
    dispose: () => sessions.dispose(),
  };
}

interface TensorNames {
  readonly inputs: readonly string[];
  /** `source`: the tensor an output is written to, its own or that of the input it overwrites. */
  readonly outputs: readonly { readonly name: string; readonly source: string }[];
}
