/** The stages of a plan, each once; models that are built stand among them. */
import type { PrecisionChoice } from '../engine/compiler.js';
import { invariant } from '../support/errors.js';
import { canonicalJson } from '../support/hash.js';
import { type AnyStage, defineStage, type ModelRef, type Stage, type StageKind } from './stage.js';
import type { ModelRequest, ModelSource, Task } from './task.js';

type NewStage<K extends StageKind> = Omit<Stage<K>, 'id' | 'taskIdentity' | 'precision'> & {
  readonly taskIdentity?: unknown;
};

export interface StageBook {
  /** In the order in which they were added: behind what they need. */
  readonly stages: readonly AnyStage[];
  add<K extends StageKind>(stage: NewStage<K>): Stage<K>;
  /** Where a model is, or the stage that makes it, which is added. */
  model(request: ModelRequest): Promise<ModelRef>;
  /** Tells how the holdout of a teacher is made, for models that are made with it. */
  onHoldout(plan: (request: ModelRequest) => Promise<Stage<'traces'>>): void;
}

export function createStageBook(task: Task, precision: PrecisionChoice): StageBook {
  const stages = new Map<string, AnyStage>();
  const models = new Map<string, Promise<ModelRef>>();
  let planHoldout: ((request: ModelRequest) => Promise<Stage<'traces'>>) | undefined;

  function add<K extends StageKind>(stage: NewStage<K>): Stage<K> {
    const defined = defineStage<K>({ ...stage, taskIdentity: stage.taskIdentity ?? null, precision });
    if (!stages.has(defined.id)) stages.set(defined.id, defined as unknown as AnyStage);
    return stages.get(defined.id) as unknown as Stage<K>;
  }

  async function build(request: ModelRequest, source: Extract<ModelSource, { kind: 'build' }>): Promise<ModelRef> {
    const { recipe, from, usesHoldout, work } = source;
    const parents = await Promise.all(from.map(model));
    invariant(planHoldout !== undefined, 'models were planned before the holdout');
    const holdout = usesHoldout ? await planHoldout(request) : undefined;
    const isOfTeacher = usesHoldout || from.length > 0;
    const { role, seed, kind } = request;
    const { id } = add({
      kind: 'model',
      label: `model: ${role} ${seed}${kind === 'default' ? '' : ` (${kind})`}${isOfTeacher ? `, teacher ${request.teacherSeed}` : ''}`,
      inputs: { request: isOfTeacher ? request : { ...request, teacherSeed: 0 }, recipe },
      models: Object.fromEntries(parents.map((ref, index) => [`from${index}`, ref])),
      needs: holdout === undefined ? {} : { holdout: holdout.id },
      work,
    });
    return { stage: id };
  }

  async function model(request: ModelRequest): Promise<ModelRef> {
    const key = canonicalJson({ ...request });
    const known = models.get(key);
    if (known !== undefined) return known;
    const made = task.modelSource(request).then((source): ModelRef | Promise<ModelRef> => {
      return source.kind === 'build'
        ? build(request, source)
        : { location: source.location, identity: source.identity };
    });
    models.set(key, made);
    return made;
  }

  return {
    get stages() {
      return [...stages.values()];
    },
    add,
    model,
    onHoldout(plan) {
      planHoldout = plan;
    },
  };
}
