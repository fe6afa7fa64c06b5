/** From a configuration to the stages of a run, and to what each point of the figure is read from. */
import { ConfigError } from '../support/errors.js';
import { didYouMean } from '../support/suggest.js';
import { isTilted, lambdaOf, nameOf, samplingOf, solvedTiltOf, type TiltedArm } from './arms.js';
import type { ArmConfig, Replicate, RunConfig, StudentConfig } from './config.js';
import type { AnyStage, Sizes, Stage } from './stage.js';
import { createStageBook, type StageBook } from './stage-book.js';
import type { ModelRequest, Purpose, Task } from './task.js';

export interface PlannedPoint {
  readonly arm: ArmConfig;
  readonly replicate: Replicate;
  readonly student: Required<Omit<StudentConfig, 'replicates'>>;
  /** Ids of stages. */
  readonly teacher: string;
  readonly traces: readonly string[];
  readonly training: string;
  readonly evaluation: string;
  readonly strength: string | null;
}

export interface Plan {
  /** Each once, behind those it needs. */
  readonly stages: readonly AnyStage[];
  readonly points: readonly PlannedPoint[];
  readonly undistilled: readonly { readonly seed: number; readonly evaluation: string }[];
  /** The first proxy, whose study of ε is shown. */
  readonly errorStudy: string | null;
  readonly cost: { readonly stage: string; readonly arms: readonly ArmConfig[] } | null;
  /** Models that nobody distilled, as they write of their own accord. */
  readonly portraits: readonly { readonly name: string; readonly answers: string }[];
  /** Traces of the first replicate to show, with Δ where there is a proxy. */
  readonly shown: readonly {
    readonly arm: ArmConfig;
    readonly replicate: Replicate;
    readonly traces: string;
    readonly shown: string;
  }[];
}

const CHUNK_BATCHES = 16;

/**
 * The stages of a run. Errors: ConfigError for attacks, kinds of proxy or seeds that the task does not have.
 */
export async function planRun(config: RunConfig, task: Task): Promise<Plan> {
  const planner = await createPlanner(config, task);
  const points: PlannedPoint[] = [];
  const shown: Plan['shown'][number][] = [];
  // The first replicate of every arm comes first, so that a run in progress shows the whole figure early.
  for (const [index, replicate] of config.replicates.entries()) {
    for (const arm of config.arms) {
      if (arm.replicates !== undefined && index >= arm.replicates) continue;
      for (const student of arm.students) {
        if (student.replicates !== undefined && index >= student.replicates) continue;
        points.push(await planner.point(arm, replicate, student));
      }
      if (index === 0 && config.shownTraces > 0) shown.push(await planner.shown(arm, replicate));
    }
  }
  const undistilled = await planner.undistilled();
  const portraits = await planner.portraits();
  const cost = config.cost === undefined ? null : await planner.cost(config.cost);
  const firstProxy = points.find(({ arm }) => isTilted(arm));
  const errorStudy =
    firstProxy === undefined ? null : await planner.proxy(firstProxy.arm as TiltedArm, firstProxy.replicate);
  return { stages: planner.book.stages, points, undistilled, errorStudy, cost, portraits, shown };
}

async function createPlanner(config: RunConfig, task: Task) {
  const { sampling, evaluation, calibration, holdout, training } = config;
  const sizes: Sizes = { maxTokens: sampling.maxTokens ?? task.maxTokens, maxBatch: sampling.maxBatch };
  const chunk = sampling.chunk ?? CHUNK_BATCHES * sampling.maxBatch;
  const book: StageBook = createStageBook(task, config.precision);
  const { prompt, response } = task.expectedTokens;

  const requestOf = (role: ModelRequest['role'], replicate: Replicate, kind = 'default'): ModelRequest => ({
    role,
    kind,
    seed: role === 'teacher' ? replicate.teacher : replicate.seed,
    teacherSeed: replicate.teacher,
  });
  const proxyRequestOf = (arm: TiltedArm, replicate: Replicate): ModelRequest =>
    arm.studentKind === 'whiteBox' ? requestOf('student', replicate) : requestOf('proxy', replicate, arm.proxyKind);
  const nameOfReplicate = ({ teacher, seed }: Replicate) => `teacher ${teacher}, seed ${seed}`;

  /** Undefended traces of the teacher. */
  const plainTraces = (
    replicate: Replicate,
    { purpose, to, temperature = 1 }: { purpose: Purpose; to: number; temperature?: number },
  ): Promise<Stage<'traces'>> =>
    traces({ arm: 'temperature', temperature, students: [] }, replicate, { purpose, from: 0, to });

  const holdoutOf = (teacherSeed: number, seed: number) =>
    plainTraces(
      { teacher: teacherSeed, seed },
      { purpose: 'holdout', to: holdout.count, temperature: holdout.temperature },
    );
  book.onHoldout(({ teacherSeed, seed }) => holdoutOf(teacherSeed, seed));

  async function proxy(arm: TiltedArm, replicate: Replicate): Promise<string> {
    const request = proxyRequestOf(arm, replicate);
    const needs = { holdout: (await holdoutOf(replicate.teacher, replicate.seed)).id };
    return book.add({
      kind: 'proxy',
      label: `proxy gradient: ${request.role} ${request.seed}${request.kind === 'default' ? '' : ` (${request.kind})`}, ${nameOfReplicate(replicate)}`,
      inputs: {
        microBatchTokens: training.microBatchTokens,
        ...(task.proxyTokenizer !== 'equal' && { proxyTokenizer: task.proxyTokenizer }),
      },
      models: { proxy: await book.model(request), teacher: await book.model(requestOf('teacher', replicate)) },
      needs,
      // Forward, backward, and the study of ε: about an epoch of training.
      work: { trained: [{ model: request, tokens: holdout.count * (prompt + response) }] },
    }).id;
  }

  async function strength(arm: TiltedArm, replicate: Replicate): Promise<string | null> {
    if (lambdaOf(arm.strength) !== null) return null;
    const { tilt: _tilt, ...untilted } = samplingOf(arm);
    const tokens = 8 * calibration.count * response;
    return book.add({
      kind: 'strength',
      label: `strength: ${nameOf({ ...arm, name: undefined })}, ${nameOfReplicate(replicate)}`,
      inputs: {
        ...sizes,
        strength: arm.strength,
        sampling: untilted,
        tilt: solvedTiltOf(arm),
        count: calibration.count,
        tolerance: calibration.tolerance,
        seed: replicate.seed,
      },
      models: await tiltModels(arm, replicate),
      needs: { proxy: await proxy(arm, replicate) },
      taskIdentity: task.identity,
      work: { sampled: await tiltedTokens(arm, replicate, tokens) },
    }).id;
  }

  async function tiltModels(arm: TiltedArm, replicate: Replicate) {
    return {
      teacher: await book.model(requestOf('teacher', replicate)),
      proxy: await book.model(proxyRequestOf(arm, replicate)),
    };
  }

  /** A teacher and what steps beside it: two perturbed proxies, or one with its derivative. */
  async function tiltedTokens(arm: TiltedArm, replicate: Replicate, tokens: number) {
    return [
      { model: requestOf('teacher', replicate), tokens },
      { model: proxyRequestOf(arm, replicate), tokens: 2 * tokens },
    ];
  }

  async function traces(
    arm: ArmConfig,
    replicate: Replicate,
    part: { purpose: Purpose; from: number; to: number },
  ): Promise<Stage<'traces'>> {
    const tokens = (part.to - part.from) * response;
    const strengthId = isTilted(arm) ? await strength(arm, replicate) : null;
    const needs = isTilted(arm)
      ? { proxy: await proxy(arm, replicate), ...(strengthId !== null && { strength: strengthId }) }
      : {};
    return book.add<'traces'>({
      kind: 'traces',
      label: `${part.purpose === 'distil' && part.to < config.traces.count ? 'clean traces' : TRACES[part.purpose]}: ${nameOf(arm)}, ${nameOfReplicate(replicate)}${part.from > 0 ? `, from question ${part.from}` : ''}`,
      inputs: {
        ...sizes,
        ...part,
        chunk,
        seed: replicate.seed,
        sampling: samplingOf(arm),
        mustParse: arm.arm === 'temperature' && arm.temperature <= 1,
      },
      models: isTilted(arm)
        ? await tiltModels(arm, replicate)
        : { teacher: await book.model(requestOf('teacher', replicate)) },
      needs,
      taskIdentity: task.identity,
      work: {
        sampled: isTilted(arm)
          ? await tiltedTokens(arm, replicate, tokens)
          : [{ model: requestOf('teacher', replicate), tokens }],
      },
    });
  }

  /** Greedy answers on the evaluation's questions, or freely drawn ones. */
  async function evaluate(
    options: Pick<Stage<'evaluation'>, 'label' | 'models' | 'needs'> & {
      request: ModelRequest;
      seed: number;
      isPortrait?: boolean;
    },
  ): Promise<string> {
    const { label, models, needs, request, seed, isPortrait = false } = options;
    const probes = isPortrait || request.role !== 'student' ? [] : task.probes.map(({ name }) => name);
    const numQuestions = isPortrait ? config.portraits.count : evaluation.count;
    const scoresSolutions =
      !isPortrait && request.role === 'student' && task.solutions?.purposes.includes(evaluation.purpose);
    return book.add({
      kind: 'evaluation',
      label,
      inputs: {
        ...sizes,
        purpose: isPortrait ? 'validation' : evaluation.purpose,
        count: numQuestions,
        temperature: isPortrait ? 1 : 0,
        seed,
        probes,
        ...(scoresSolutions && { scoresSolutions }),
      },
      models,
      needs,
      taskIdentity: task.identity,
      work: { sampled: [{ model: request, tokens: (1 + probes.length) * numQuestions * response }] },
    }).id;
  }

  return {
    book,
    proxy,

    async point(
      arm: ArmConfig,
      replicate: Replicate,
      { attack, trainingMultiple }: StudentConfig,
    ): Promise<PlannedPoint> {
      const known = attack === null ? undefined : task.attacks[attack];
      if (attack !== null && known === undefined) {
        throw new ConfigError(
          `arms: the task ${task.name} has no attack '${attack}'.${didYouMean(attack, Object.keys(task.attacks))}`,
        );
      }
      const { count } = config.traces;
      const parts = await Promise.all(
        Array.from({ length: known?.traceMultiple ?? 1 }, (_, part) =>
          traces(arm, replicate, { purpose: 'distil', from: part * count, to: (part + 1) * count }),
        ),
      );
      const numClean = known?.numCleanTraces ?? 0;
      const clean = numClean === 0 ? undefined : await plainTraces(replicate, { purpose: 'distil', to: numClean });
      const how = [
        ...(trainingMultiple === 1 ? [] : [`trained ${trainingMultiple}×`]),
        ...(attack === null ? [] : [attack]),
      ];
      const name = [nameOf(arm), ...how, nameOfReplicate(replicate)].join(', ');
      const request = requestOf('student', replicate);
      const base = await book.model(request);
      const epochs = training.epochs * trainingMultiple;
      const student = book.add<'student'>({
        kind: 'student',
        label: `student: ${name}`,
        inputs: { training: { ...training, epochs, seed: replicate.seed }, attack },
        models: { base },
        needs: {
          ...Object.fromEntries(parts.map(({ id }, index) => [`traces${index}`, id])),
          ...(clean && { clean: clean.id }),
        },
        taskIdentity: task.identity,
        work: { trained: [{ model: request, tokens: epochs * parts.length * count * (prompt + response) }] },
      });
      return {
        arm,
        replicate,
        student: { attack, trainingMultiple },
        teacher: (await traces(arm, replicate, { purpose: evaluation.purpose, from: 0, to: evaluation.count })).id,
        traces: parts.map(({ id }) => id),
        training: student.id,
        evaluation: await evaluate({
          label: `evaluation: ${name}`,
          models: { base },
          needs: { student: student.id },
          request,
          seed: replicate.seed,
        }),
        strength: isTilted(arm) ? await strength(arm, replicate) : null,
      };
    },

    async shown(arm: ArmConfig, replicate: Replicate): Promise<Plan['shown'][number]> {
      const { id } = await traces(arm, replicate, { purpose: 'distil', from: 0, to: config.traces.count });
      const tilted = config.arms.find(
        (each) => isTilted(each) && each.proxyKind === 'default' && each.studentKind === 'blackBox',
      );
      const own = isTilted(arm) ? arm : (tilted as TiltedArm | undefined);
      const teacher = await book.model(requestOf('teacher', replicate));
      const stage = book.add<'shown'>({
        kind: 'shown',
        label: `shown: ${nameOf(arm)}, ${nameOfReplicate(replicate)}`,
        inputs: { count: config.shownTraces },
        models: own === undefined ? { teacher } : { teacher, proxy: await book.model(proxyRequestOf(own, replicate)) },
        needs: { traces: id, ...(own && { proxy: await proxy(own, replicate) }) },
        work: {},
      });
      return { arm, replicate, traces: id, shown: stage.id };
    },

    async undistilled(): Promise<Plan['undistilled']> {
      const seeds = new Map(config.replicates.map((replicate) => [replicate.seed, replicate]));
      // Seeds that share a base would give the same greedy answers again, and count them as independent.
      const bases = new Map<string, Replicate>();
      for (const replicate of seeds.values()) {
        const base = JSON.stringify(await book.model(requestOf('student', replicate)));
        if (!bases.has(base)) bases.set(base, replicate);
      }
      return Promise.all(
        [...bases.values()].map(async (replicate) => ({
          seed: replicate.seed,
          evaluation: await evaluate({
            label: `evaluation: student ${replicate.seed} before training`,
            models: { model: await book.model(requestOf('student', replicate)) },
            needs: {},
            request: requestOf('student', replicate),
            seed: replicate.seed,
          }),
        })),
      );
    },

    async portraits(): Promise<Plan['portraits']> {
      const kinds = new Set(config.arms.flatMap((arm) => (isTilted(arm) ? [arm.proxyKind] : [])));
      const requests = config.replicates.flatMap((replicate) => [
        requestOf('teacher', replicate),
        ...[...kinds].map((kind) => requestOf('proxy', replicate, kind)),
        requestOf('student', replicate),
      ]);
      const portraits = new Map<string, string>();
      for (const request of requests) {
        const name = `${request.role} ${request.seed}${request.kind === 'default' ? '' : ` (${request.kind})`}`;
        if (portraits.has(name)) continue;
        const models = { model: await book.model(request) };
        portraits.set(
          name,
          await evaluate({
            label: `portrait: ${name}`,
            models,
            needs: {},
            request,
            seed: request.seed,
            isPortrait: true,
          }),
        );
      }
      return [...portraits].map(([name, answers]) => ({ name, answers }));
    },

    /** One of each kind of arm, in the first replicate. */
    async cost({ questions, rounds }: NonNullable<RunConfig['cost']>): Promise<Plan['cost']> {
      const replicate = config.replicates[0];
      const arms = config.arms.filter((arm, index) => config.arms.findIndex((each) => each.arm === arm.arm) === index);
      const models: Record<string, Awaited<ReturnType<StageBook['model']>>> = {
        teacher: await book.model(requestOf('teacher', replicate)),
      };
      const needs: Record<string, string> = {};
      for (const [index, arm] of arms.entries()) {
        if (!isTilted(arm)) continue;
        models[`proxy${index}`] = await book.model(proxyRequestOf(arm, replicate));
        needs[`proxy${index}`] = await proxy(arm, replicate);
        const strengthId = await strength(arm, replicate);
        if (strengthId !== null) needs[`strength${index}`] = strengthId;
      }
      const tokens = 2 * arms.length * questions * rounds * response;
      const stage = book.add<'cost'>({
        kind: 'cost',
        label: 'cost of a token under each arm',
        inputs: { ...sizes, arms: arms.map(samplingOf), count: questions, rounds, seed: replicate.seed },
        models,
        needs,
        taskIdentity: task.identity,
        work: { sampled: [{ model: requestOf('teacher', replicate), tokens }] },
      });
      return { stage: stage.id, arms };
    },
  };
}

const TRACES: Readonly<Record<Purpose, string>> = {
  holdout: 'holdout',
  distil: 'traces',
  calibration: 'calibration',
  validation: 'teacher',
  test: 'teacher',
  sealed: 'teacher',
};
