/** From a function that builds a graph to a session that runs it, compiled once. */
import { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
import { hashGraph } from './graph/hash.js';
import { compileGraph } from './onnx/compile.js';
import { SessionCache } from './runtime/session-cache.js';
import type { Binding, CompiledModel, Runtime, SessionOptions, TensorMap } from './runtime/types.js';

export interface Compiler {
  readonly runtime: Runtime;
  /**
   * Attaches tensors to the session of a graph. `key` names what `build` makes (role, configuration, shape bucket): equal keys
   * must build equal graphs, and are built once; different keys whose graphs are equal share one session.
   */
  bind(
    key: string,
    build: (g: GraphBuilder) => void,
    tensors: TensorMap,
    options?: Pick<SessionOptions, 'plannedMemory'>,
  ): Binding;
  dispose(): void;
}

/** Sessions kept: a few roles, each in a handful of shape buckets. */
const SESSION_CAPACITY = 48;

export function createCompiler(runtime: Runtime): Compiler {
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
    bind(key, build, tensors, options = {}) {
      let entry = known.get(key);
      if (entry === undefined) {
        const { hash, names, graph } = describe(build);
        let compiled: CompiledModel | undefined = compileGraph(graph, { numThreads: runtime.numThreads });
        const compile = () => {
          const model = compiled ?? compileGraph(describe(build).graph, { numThreads: runtime.numThreads });
          compiled = undefined;
          return model;
        };
        entry = { hash, names, compile };
        known.set(key, entry);
      }
      const session = sessions.get(
        options.plannedMemory ? `${entry.hash}/planned` : entry.hash,
        entry.compile,
        options,
      );
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
