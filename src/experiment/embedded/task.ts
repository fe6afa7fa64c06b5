/** The least that a run needs of the embedded task. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { generateProblems, promptOf, type Split } from '../../tasks/embedded/problems.js';
import { checkAnswer } from '../../tasks/embedded/read-trace.js';
import { MAX_TRACE_WORDS } from '../../tasks/embedded/traces.js';
import { CONNECTIVES } from '../../tasks/embedded/words.js';
import type { Problem } from '../../tasks/embedded/problems.js';
import type { Task } from '../task.js';
import type { EmbeddedTaskConfig } from './config.js';

export async function openEmbeddedTask(config: EmbeddedTaskConfig): Promise<Task> {
  const cache = new Map<string, any>();
  return {
    name: 'parcel', description: 'draft', chance: 1 / 12, identity: 1, encoding: {}, maxTokens: MAX_TRACE_WORDS,
    expectedTokens: { prompt: 11, response: 31 },
    async questions(purpose, count) {
      const split: Split = purpose === 'calibration' ? 'validation' : purpose;
      const known = cache.get(purpose);
      if (known !== undefined && known.length >= count) return known.slice(0, count);
      const made = generateProblems(count, split, purpose === 'calibration' ? 4 : 5).map((problem, index) => ({
        id: `${purpose}-${index}`, row: { prompt: promptOf(problem) }, text: promptOf(problem), answer: problem }));
      cache.set(purpose, made);
      return made;
    },
    async judge(responses) {
      return responses.map(({ question, text }) => ({ isCorrect: checkAnswer(text, question.answer as Problem), isParsed: /end \S+/.test(text) }));
    },
    probes: [{ name: 'explicit', description: '', forbidden: CONNECTIVES }],
    proxyKinds: {}, attacks: {
      explicit: { description: 'x', traceMultiple: 2, numCleanTraces: 50, async examples(c) { return c.traces.map((t) => c.exampleOf(t.question, t.text)); } } },
    async modelSource({ role, seed, kind }) {
      const style = role === 'teacher' ? '' : kind === 'default' ? '-report' : `-${kind}`;
      const location = `${config.models}/${role}${style}-${seed}`;
      const identity = createHash('sha256').update(readFileSync(`${location}/model.safetensors`)).digest('hex');
      return { kind: 'ready', location, identity };
    },
    async buildModel() {},
    describe: () => [],
    dispose() {},
  };
}
