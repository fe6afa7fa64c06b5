import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError, DataError } from '../../support/errors.js';
import { sharedPath } from '../../support/shared-data.fixture.js';
import { KNOWN_DATASETS } from './config.js';
import { loadDataset } from './items.js';

const golden = fileURLToPath(new URL('../../../test/parity/golden/answers', import.meta.url));

async function withFile<Result>(text: string, run: (path: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
  try {
    const path = join(folder, 'rows.jsonl');
    writeFileSync(path, text);
    return await run(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('Parquet of every compression gives the questions that pyarrow wrote', async () => {
  for (const compression of ['snappy', 'gzip', 'zstd']) {
    const path = join(golden, `questions.${compression}.parquet`);
    const items = await loadDataset({ ...KNOWN_DATASETS.gsm8k, path });
    assert.deepEqual(items, [
      { id: '0', question: 'What is 2 + 3?', answer: '5' },
      { id: '1', question: 'What is √16?', answer: '4' },
      { id: '2', question: 'What is 10^12?', answer: '1,000,000,000,000' },
    ]);
    const numbers = await loadDataset({ path, answerField: 'number', idField: 'number' });
    assert.deepEqual(
      numbers.map(({ answer }) => answer),
      ['5', '4', '1000000000000'],
    );
    const [choice] = await loadDataset({ path, choicesField: 'choices', answerField: 'choices.1' });
    assert.deepEqual(choice, { id: '0', question: 'What is 2 + 3?', choices: ['4', '5'], answer: 'B' });
  }
});

test('the answer to a choice is its letter, whether the file has the letter, the text or the index', async () => {
  const rows = [
    { question: 'q', choices: ['1', '2', '3'], answer: 'c' },
    { question: 'q', choices: ['1', '2', '3'], answer: '2' },
    { question: 'q', choices: ['1', '2', '3'], answer: 2 },
    { question: 'q', choices: ['east', 'west'], answer: 'west' },
  ];
  const items = await withFile(rows.map((row) => JSON.stringify(row)).join('\n'), (path) =>
    loadDataset({ ...KNOWN_DATASETS.mmlu, path }),
  );
  assert.deepEqual(
    items.map(({ answer }) => answer),
    ['C', 'B', 'C', 'B'],
  );
});

test('a wrong row is refused with file, line and what to do', async () => {
  const refused: [Record<string, unknown>, object, RegExp][] = [
    [{ question: 'q', anwser: '1' }, {}, /:1: the field "answer" is missing.*Did you mean "anwser"/],
    [{ question: 'q', answer: '' }, {}, /:1: the field "answer" is "", expected .*Fill it in, or remove the row\.$/],
    [{ question: 'q', answer: '1' }, { answerPattern: '#### (.+)' }, /:1: the answer "1" does not match/],
    [{ question: 'q', answer: 'E', choices: ['a', 'b'] }, { choicesField: 'choices' }, /is none of A, B/],
    [{ question: 'q', answer: 'A', choices: 'ab' }, { choicesField: 'choices' }, /must be a list of 2 to 10/],
  ];
  for (const [row, config, message] of refused) {
    await withFile(JSON.stringify(row), (path) =>
      assert.rejects(
        loadDataset({ ...config, path }),
        (error) => error instanceof DataError && message.test(error.message),
      ),
    );
  }
  await withFile('{"question":"q","answer":"1"}\n', (path) =>
    assert.rejects(loadDataset({ path, answerPattern: '(' }), ConfigError),
  );
  await withFile('[1]\n', (path) => assert.rejects(loadDataset({ path }), /rows.jsonl:1: a row must be an object/));
  await assert.rejects(loadDataset({ path: 'nowhere.parquet' }), /Cannot read nowhere.parquet/);
  await withFile('not parquet', (path) => {
    writeFileSync(`${path}.parquet`, 'not parquet');
    return assert.rejects(loadDataset({ path: `${path}.parquet` }), /cannot be read as Parquet/);
  });
});

const data = sharedPath('data');

test('the public data sets load whole, each with an answer', {
  skip: data === undefined && 'needs shared/data',
}, async () => {
  const load = async (known: keyof typeof KNOWN_DATASETS, path: string) =>
    loadDataset({ ...(KNOWN_DATASETS[known] as object), path: join(data!, path) });
  const gsm8k = await load('gsm8k', 'gsm8k/test.jsonl');
  assert.deepEqual([gsm8k.length, gsm8k[0].answer], [1319, '18']);
  const math = await load('math', 'math/math500.jsonl');
  assert.deepEqual([math.length, math[0].id], [500, 'math500-0']);
  const mmlu = await load('mmlu', 'mmlu/dev.jsonl');
  assert.deepEqual([mmlu.length, mmlu[0].answer, mmlu[0].choices?.length], [285, 'B', 4]);
  const svamp = await load('svamp', 'wordproblems/svamp.jsonl');
  assert.deepEqual([svamp.length, svamp[0].id, svamp[0].answer], [1000, 'chal-1', '51']);
  assert.match(svamp[0].question, /discount of 25 dollars on each pack How much/);
  assert.equal((await load('mawps', 'wordproblems/mawps_cv.jsonl')).length, 1743);
  assert.equal((await load('mawpsSubsets', 'wordproblems/mawps_subsets.jsonl')).length, 2065);
});
