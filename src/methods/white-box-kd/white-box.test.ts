import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createScorer } from '../../inference/score.js';
import { createModel, type LanguageModel } from '../../model/language-model.js';
import { createRandom } from '../../support/random.js';
import { trainingSchema } from '../../training/config.js';
import { trainModel } from '../../training/train.js';
import { countingRows, tinyConfig } from '../../training/training.fixture.js';
import { cellIdentity, holdsCells, openCellCache, writeCellCache } from './cell-cache.js';
import { bytesPerPosition, type Cells, decodeCells, encodeCells } from './cells.js';
import { whiteBoxSchema } from './config.js';
import { whiteBoxLoss } from './row-loss.js';
import { createTeacherPass } from './teacher-pass.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const { vocabSize } = tinyConfig;
const rows = countingRows(12);
let folder: string;
let teacher: LanguageModel;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azeotrope-cells-'));
  teacher = createModel(compiler, { ...tinyConfig, initializerRange: 0.3 }, createRandom('teacher'));
});
after(async () => {
  await rm(folder, { recursive: true });
  compiler.dispose();
  runtime.dispose();
});

const passOf = (topK: number, temperature = 1) =>
  createTeacherPass(teacher, { topK, temperature, microBatchTokens: 64 });

describe('what the teacher says', () => {
  test('at each response token: its likeliest tokens as the scorer has them, and the mass of the others', async () => {
    const k = 5;
    const pass = passOf(k);
    const cells = await pass.cellsOf(rows);
    pass.dispose();
    const scored = await createScorer(teacher).score(rows, { topK: k });
    rows.forEach(({ tokens, responseStart }, row) => {
      assert.equal(cells[row].tails.length, tokens.length - responseStart);
      for (let position = 0; position < tokens.length - responseStart; position++) {
        const top = scored[row].top![responseStart + position]!;
        const start = position * k;
        assert.deepEqual(
          [...cells[row].ids.subarray(start, start + k)],
          top.map(([id]) => id),
        );
        top.forEach(([, logprob], rank) => {
          assert.ok(Math.abs(cells[row].logprobs[start + rank] - logprob) < 1e-5);
        });
        const mass = top.reduce((sum, [, logprob]) => sum + Math.exp(logprob), cells[row].tails[position]);
        assert.ok(Math.abs(mass - 1) < 1e-5, `${mass}`);
      }
    });
  });

  test('with all tokens kept no mass is left', async () => {
    const pass = passOf(vocabSize, 2);
    const [{ tails }] = await pass.cellsOf(rows.slice(0, 1));
    pass.dispose();
    assert.ok(tails.every((tail) => tail === 0));
  });
});

describe('distributions on disk', () => {
  test('come back within 0.0003 nats with a total mass of 1, in few bytes', async () => {
    const pass = passOf(6);
    const [cells] = await pass.cellsOf(rows.slice(3, 4));
    pass.dispose();
    const bytes = Buffer.from(encodeCells(cells, vocabSize));
    assert.equal(bytes.length, cells.tails.length * (6 * 4 + 2));
    const read = decodeCells(bytes, { topK: 6, vocabSize });
    assert.deepEqual(read.ids, cells.ids);
    read.logprobs.forEach((value, at) => void assert.ok(Math.abs(value - cells.logprobs[at]) < 5e-4));
    read.tails.forEach((tail, position) => {
      const mass = read.logprobs
        .subarray(position * 6, position * 6 + 6)
        .reduce((sum, value) => sum + Math.exp(value), tail);
      assert.ok(Math.abs(mass - 1) < 1e-6, `${mass}`);
    });
  });

  test('ids beyond 65536 take four bytes; a tail of nothing stays nothing', () => {
    const cells: Cells = {
      ids: Int32Array.of(151_935, 3),
      logprobs: Float32Array.of(Math.log(0.75), Math.log(0.25)),
      tails: Float32Array.of(0),
    };
    const bytes = Buffer.from(encodeCells(cells, 151_936));
    assert.equal(bytes.length, bytesPerPosition(2, 151_936));
    const read = decodeCells(bytes, { topK: 2, vocabSize: 151_936 });
    assert.deepEqual([...read.ids, ...read.tails], [151_935, 3, 0]);
  });

  test('a file is known by teacher, rows and settings; a torn one is made anew, not read', async () => {
    const pass = passOf(4);
    const path = join(folder, 'teacher.cells');
    const content = { topK: 4, vocabSize, temperature: 1, teacher: 'T', examples: rows };
    assert.equal(holdsCells(path, content), false);
    await writeCellCache(path, content, pass.cellsOf);
    const [direct] = await pass.cellsOf(rows.slice(7, 8));
    pass.dispose();
    assert.equal(holdsCells(path, content), true);
    assert.equal(holdsCells(path, { ...content, teacher: 'U' }), false);
    assert.notEqual(cellIdentity(content), cellIdentity({ ...content, examples: rows.slice(1) }));
    const cache = openCellCache(path);
    const { ids } = cache.read(rows[7]);
    assert.deepEqual(ids, direct.ids);
    assert.throws(() => cache.read({ ...rows[0], id: 'unknown' }), /unknown.*Remove the file/);
    cache.dispose();
    await writeFile(path, (await readFile(path)).subarray(0, -1));
    assert.equal(holdsCells(path, content), false);
    assert.throws(() => openCellCache(path), /not a whole file/);
    await assert.rejects(
      writeCellCache(path, { ...content, examples: [rows[0], rows[0]] }, passOf(4).cellsOf),
      /stands twice/,
    );
  });
});

describe('training on them', () => {
  const settings = trainingSchema.parse({
    epochs: 20,
    batchSize: 6,
    learningRate: 1e-2,
    seed: 1,
    microBatchTokens: 64,
  });
  const train = async (options: Parameters<typeof whiteBoxSchema.parse>[0], maxSteps?: number) => {
    const config = whiteBoxSchema.parse(options);
    const student = createModel(compiler, tinyConfig, createRandom('student'));
    const topK = Math.min(config.topK, vocabSize);
    const pass = passOf(topK, config.temperature);
    const losses: number[] = [];
    try {
      await trainModel(
        student,
        rows,
        { ...settings, maxSteps },
        {
          onStep: ({ lossNats }) => void losses.push(lossNats),
          loss: (model) =>
            whiteBoxLoss(
              { config, topK, teacher: 'T', seed: 1, cellsOfRows: pass.cellsOf, cellsOfResponses: pass.cellsOf },
              model,
            ),
        },
      );
      return { losses, weights: student.parameters.get('model.norm.weight')!.data.slice() };
    } finally {
      pass.dispose();
      student.dispose();
    }
  };

  test('the student comes to say what the teacher says: the divergence falls to a fifth', async () => {
    const { losses } = await train({ topK: 8 });
    assert.ok(losses.at(-1)! < 0.2 * losses[0], `${losses[0]} → ${losses.at(-1)}`);
  });

  test('on its own responses too, reproducibly', async () => {
    const options = { divergence: 'jensenShannon', studentFraction: 0.5, topK: vocabSize };
    const first = await train(options, 6);
    const second = await train(options, 6);
    assert.deepEqual(first, second);
    const offPolicy = await train({ ...options, studentFraction: 0 }, 6);
    assert.notDeepEqual(first.weights, offPolicy.weights);
  });
});
