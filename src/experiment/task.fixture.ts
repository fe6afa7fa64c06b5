/** A task of which only the plan is asked: every model is there, no question is. */
import type { ModelRequest, Task } from './task.js';

export function plannedTask(changes: Partial<Task> = {}): Task {
  const unasked = () => {
    throw new Error('a plan asks no questions');
  };
  const nameOf = ({ role, seed, kind }: ModelRequest) => `${role}-${seed}-${kind}`;
  return {
    name: 'planned',
    description: '',
    chance: null,
    identity: 'questions',
    encoding: {},
    maxTokens: 32,
    expectedTokens: { prompt: 10, response: 20 },
    questions: unasked,
    judge: unasked,
    probes: [{ name: 'explicit', description: '', forbidden: ['and'] }],
    proxyKinds: { other: 'another' },
    proxyTokenizer: 'equal',
    attacks: {
      adapted: { description: '', traceMultiple: 2, numCleanTraces: 10, examples: unasked },
    },
    modelSource: async (request) => ({ kind: 'ready', location: `/${nameOf(request)}`, identity: nameOf(request) }),
    buildModel: unasked,
    describe: () => [],
    dispose: () => {},
    ...changes,
  };
}
