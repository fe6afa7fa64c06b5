/** Every model family against `transformers`: log-probabilities of whole rows. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../src/engine/compiler.js';
import { openRuntime } from '../../src/engine/runtime/open.js';
import { buildScoreGraph } from '../../src/inference/score-graph.js';
import { openCheckpoint } from '../../src/model/checkpoint.js';
import { loadModel, modelTensors } from '../../src/model/language-model.js';

const families = join(import.meta.dirname, 'golden', 'families');
const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

interface Expected {
  rows: { id: string; tokens: number[]; logprobs: (number | null)[] }[];
}

describe('log-probabilities', () => {
  for (const family of readdirSync(families)) {
    test(`${family}: those of transformers within 1e-4 nats`, async () => {
      const expected: Expected = JSON.parse(readFileSync(join(families, family, 'expected.json'), 'utf8'));
      const model = loadModel(compiler, await openCheckpoint(join(families, family)));
      for (const row of expected.rows) {
        const time = row.tokens.length;
        const shape = { batch: 1, time, topK: 0 };
        const logprobs = runtime.tensor('float32', [time]);
        const binding = compiler.bind(`score/${family}/${time}`, (g) => buildScoreGraph(g, model.config, shape), {
          ...modelTensors(model, time),
          tokens: runtime.tensor('int64', [time], row.tokens),
          targets: runtime.tensor('int64', [time], [...row.tokens.slice(1), 0]),
          positions: runtime.tensor(
            'int64',
            [1, time],
            row.tokens.map((_, index) => index),
          ),
          logprobs,
        });
        await binding.run();
        row.logprobs.slice(1).forEach((value, index) => {
          const error = Math.abs(logprobs.data[index] - value!);
          assert.ok(error < 1e-4, `${row.id} token ${index + 1}: ${logprobs.data[index]}, transformers ${value}`);
        });
      }
      model.dispose();
    });
  }
});
