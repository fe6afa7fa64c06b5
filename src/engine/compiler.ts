/** From a function that builds a graph to a session that runs it, compiled once. */
import { sha256OfJson } from '../support/hash.js';
import { createGraphBuilder, type GraphBuilder } from './graph/builder.js';
import { hashGraph } from './graph/hash.js';
import { compileGraph } from './onnx/compile.js';
import type { Precision, StoredForm } from './onnx/emitter.js';
import { blockOpOf } from './onnx/native/block-op.js';
import { createPackedWeights, type PackedHold } from './packed-weights.js';
import { prefersHalf } from './runtime/kernels-library.js';
import { SessionCache } from './runtime/session-cache.js';
import type {
  Binding,
  CompiledModel,
  PackedInput,
  Runtime,
  SessionOptions,
  Tensor,
  TensorMap,
} from './runtime/types.js';

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

interface BindOptions extends Pick<SessionOptions, 'plannedMemory'> {
  readonly precision?: Precision | undefined;
  /**
   * The graph runs many times between two changes of its parameters (inference). In bfloat16 weights are then packed once, for all
   * such graphs together, and again when they have changed; those that are stored in blocks are computed on as they are, in float32, too. Default: false.
   */
  readonly constantWeights?: boolean | undefined;
  /**
   * Inputs of a graph of training that change seldom (what is not trained): their packed forms are kept beside them, as with
   * `constantWeights`. Default: none.
   */
  readonly frozen?: readonly string[] | undefined;
}

/** A precision that is asked for; `auto`: bfloat16 where it is faster. */
export type PrecisionChoice = Precision | 'auto';

export interface CompilerOptions {
  /** Default: float32. bfloat16 takes effect where the runtime has kernels for it (`effectivePrecision`). */
  readonly precision?: PrecisionChoice | undefined;
}

/**
 * What a graph asked for in `precision` is computed in on this runtime: bfloat16 where there are kernels for it; `auto`: where they are
 * faster, too.
 */
export function effectivePrecision({ kernels }: Pick<Runtime, 'kernels'>, precision: PrecisionChoice): Precision {
  const isHalf =
    precision === 'auto' ? prefersHalf(kernels) : precision === 'bfloat16' && kernels.ops.has('DecodeLinear');
  return isHalf ? 'bfloat16' : 'float32';
}

/** Sessions kept: a few roles, each in a handful of shape buckets. */
const SESSION_CAPACITY = 48;

export function createCompiler(runtime: Runtime, compilerOptions: CompilerOptions = {}): Compiler {
  const defaultPrecision = effectivePrecision(runtime, compilerOptions.precision ?? 'float32');
  const sessions = new SessionCache(runtime, SESSION_CAPACITY);
  const packedWeights = createPackedWeights(runtime, sessions);
  const known = new Map<string, Entry>();

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

  const attach = (
    key: string,
    build: (g: GraphBuilder) => void,
    tensors: TensorMap,
    { precision: asked, plannedMemory, constantWeights: areConstant = false, frozen = [] }: BindOptions,
  ): Attached => {
    const precision = asked === undefined ? defaultPrecision : effectivePrecision(runtime, asked);
    const stored = areConstant ? storedForms(runtime, precision, tensors) : NOTHING_STORED;
    const constantWeights = areConstant && (precision === 'bfloat16' || stored.size > 0);
    const lowering = {
      numThreads: runtime.numThreads,
      precision,
      kernels: runtime.kernels.ops,
      constantWeights,
      rowsApart: areConstant,
      stored,
      frozen: new Set(frozen),
    };
    const kept = frozen.length > 0 && !constantWeights ? `/${sha256OfJson(frozen)}` : '';
    const inference = constantWeights ? '/constant' : areConstant ? '/apart' : '';
    const variant = `${precision}${inference}${stored.size > 0 ? `/${sha256OfJson([...stored])}` : ''}${kept}`;
    const fullKey = `${variant}/${key}`;
    let entry = known.get(fullKey);
    if (entry === undefined) {
      const { hash, names, graph } = describe(build);
      let compiled: CompiledModel | undefined = compileGraph(graph, lowering);
      const { packed = {}, blocks = {}, inputs: taken } = compiled;
      const compile = () => {
        const model = compiled ?? compileGraph(describe(build).graph, lowering);
        compiled = undefined;
        return model;
      };
      const inputs = names.inputs.filter((name) => Object.hasOwn(taken, name));
      entry = { hash, names: { ...names, inputs }, compile, packed, blocks };
      known.set(fullKey, entry);
    }
    const session = sessions.get(`${entry.hash}/${variant}${plannedMemory ? '/planned' : ''}`, entry.compile, {
      plannedMemory,
    });
    const inputs = Object.fromEntries(entry.names.inputs.map((name) => [name, tensors[name]]));
    const outputs = Object.fromEntries(entry.names.outputs.map(({ name, source }) => [name, tensors[source]]));
    const sources = Object.entries(entry.blocks).map(([name, source]) => {
      inputs[name] = tensors[source].blocks!.bytes;
      return tensors[source];
    });
    const packedNames = Object.keys(entry.packed);
    if (packedNames.length === 0) return { binding: session.bind(inputs, outputs), sources };
    const hold = packedWeights.hold(
      Object.values(entry.packed).map(({ form, sources: from }) => ({
        form,
        sources: from.map((name) => tensors[name]),
      })),
    );
    packedNames.forEach((name, index) => {
      inputs[name] = hold.tensors[index];
    });
    return { binding: withPacked(session.bind(inputs, outputs), hold), sources };
  };

  return {
    runtime,
    precision: defaultPrecision,
    bind(key, build, tensors, options = {}) {
      const attached = attach(key, build, tensors, options);
      return attached.sources.length === 0
        ? attached.binding
        : withBlocks(attached, () => attach(key, build, tensors, options));
    },
    dispose: () => sessions.dispose(),
  };
}

/** A binding, and the tensors of which it reads the stored blocks. */
interface Attached {
  readonly binding: Binding;
  readonly sources: readonly Tensor[];
}

const NOTHING_STORED: ReadonlyMap<string, StoredForm> = new Map();

/** The tensors that are stored in blocks, where there are kernels that read them. */
function storedForms({ kernels }: Runtime, precision: Precision, tensors: TensorMap): ReadonlyMap<string, StoredForm> {
  if (blockOpOf(kernels.ops, precision) === undefined) return NOTHING_STORED;
  return new Map(
    Object.entries(tensors).flatMap(([name, { blocks }]) =>
      blocks === undefined ? [] : [[name, { format: blocks.format, sizeBytes: blocks.bytes.shape[0] }]],
    ),
  );
}

/** Attaches anew where blocks are no longer what their tensors hold. */
function withBlocks(first: Attached, attach: () => Attached): Binding {
  let attached = first;
  let isDisposed = false;
  const latest = (): Binding => {
    if (!isDisposed && attached.sources.some(({ blocks }) => blocks === undefined)) {
      attached.binding.dispose();
      attached = attach();
    }
    return attached.binding;
  };
  return {
    run: async () => latest().run(),
    runSync: () => latest().runSync(),
    dispose() {
      isDisposed = true;
      attached.binding.dispose();
    },
  };
}

/** Packs what has changed before each run. */
function withPacked(binding: Binding, hold: PackedHold): Binding {
  let isDisposed = false;
  return {
    async run() {
      const stale = hold.stale();
      if (stale.length > 0) await Promise.all(stale.map((each) => each.run()));
      await binding.run();
    },
    runSync() {
      for (const each of hold.stale()) each.runSync();
      binding.runSync();
    },
    dispose() {
      if (isDisposed) return;
      isDisposed = true;
      binding.dispose();
      hold.release();
    },
  };
}

interface Entry {
  readonly hash: string;
  readonly names: TensorNames;
  readonly compile: () => CompiledModel;
  /** Inputs that are packed forms, with the inputs they are made of. */
  readonly packed: Readonly<Record<string, PackedInput>>;
  /** Inputs that are stored blocks, with the inputs whose they are. */
  readonly blocks: Readonly<Record<string, string>>;
}

interface TensorNames {
  readonly inputs: readonly string[];
  /** `source`: the tensor an output is written to, its own or that of the input it overwrites. */
  readonly outputs: readonly { readonly name: string; readonly source: string }[];
}
