import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ChatRequest, Responder } from '../../inference/endpoint/responder.js';
import { judgeResponses } from './judge-responses.js';
import { comparisonMessages, parseScores } from './prompts.js';
import { relativeScore, summarizeScores } from './scores.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azeotrope-judge-'));
});
after(() => rm(folder, { recursive: true }));

/** Answers with `say`, and remembers what it was asked. */
function judgeThat(say: (request: ChatRequest) => string): Responder & { asked: ChatRequest[] } {
  const asked: ChatRequest[] = [];
  return {
    identity: { model: 'judge-1', temperature: 0 },
    asked,
    async answerAll(requests, { onAnswer }) {
      for (const request of requests) {
        asked.push(request);
        onAnswer({ id: request.id, text: say(request), finish: 'stop', promptTokens: 10, completionTokens: 5 });
      }
      return [];
    },
  };
}

describe('what a judge says', () => {
  test('two numbers from 1 to 10 on the first line, and nothing else, are scores', () => {
    const readable: [string, [number, number]][] = [
      ['8 6\nBecause …', [8, 6]],
      ['\n 7.5, 9 \nBecause', [7.5, 9]],
      ['10/1', [10, 1]],
      ['**8 9**\n', [8, 9]],
    ];
    for (const [text, scores] of readable) assert.deepEqual(parseScores(text), scores, text);
    for (const text of ['', 'Assistant 1: 8, Assistant 2: 6', '8', '8 6 7', '0 5', '11 3', '-3 4', 'eight six'])
      assert.equal(parseScores(text), undefined, text);
  });

  test('the prompt names the question, both answers in their order, and what counts', () => {
    const [, { content }] = comparisonMessages('Q?', 'first answer', 'second answer');
    assert.match(content, /^\[Question\]\nQ\?\n\n\[The Start of Assistant 1's Answer\]\nfirst answer\n\n\[The End/);
    assert.ok(content.indexOf('first answer') < content.indexOf('second answer'));
    for (const word of ['helpfulness', 'relevance', 'accuracy', 'level of details', 'scale of 1 to 10'])
      assert.ok(content.includes(word));
  });
});

describe('scores', () => {
  test('are 50 for a response as good as the reference', () => {
    assert.deepEqual([relativeScore(7, 7), relativeScore(8, 2), relativeScore(1, 9)], [50, 80, 10]);
  });

  test('at equal length: a score that is all length is taken off', () => {
    const rows = [0.5, 1, 2, 4].map((factor, at) => ({
      id: String(at),
      score: 50 + 10 * Math.log((100 * factor + 1) / 101),
      length: 100 * factor,
      referenceLength: 100,
    }));
    const { score, lengthControlledScore, interval } = summarizeScores(rows);
    assert.ok(Math.abs(lengthControlledScore! - 50) < 1e-9);
    assert.ok(score! > 53 && interval!.lower < score! && score! < interval!.upper);
  });

  test('what could not be read is counted apart and changes no mean', () => {
    const row = { id: 'a', score: 40, length: 5, referenceLength: 5 };
    const { score, numJudged, numUnparsable } = summarizeScores([row, { ...row, score: null }]);
    assert.deepEqual([score, numJudged, numUnparsable], [40, 1, 1]);
    assert.equal(summarizeScores([{ ...row, score: null }]).score, null);
  });
});

describe('a judgement', () => {
  const rows = [
    { id: 'a', question: 'Why?', response: 'Because.' },
    { id: 'b', question: 'How?', response: 'Somehow.' },
  ];
  test('a judge that prefers whatever comes first gives 50: both orders are asked', async () => {
    const judge = judgeThat(({ id }) => (id.includes('/') ? '9 1\nthe first is better' : 'my own answer'));
    const result = await judgeResponses(judge, rows, { cache: folder });
    assert.deepEqual(
      result.responses.map(({ score }) => score),
      [50, 50],
    );
    assert.equal(judge.asked.length, 6);
    assert.deepEqual(result.spent, { requests: 6, promptTokens: 60, completionTokens: 30 });
    assert.ok(judge.asked[2].messages[1].content.includes('my own answer'), 'compared with its own answer');
    const again = await judgeResponses(judge, rows, { cache: folder });
    assert.deepEqual([judge.asked.length, again.spent.requests, again.score], [6, 0, 50], 'kept, not asked again');
  });

  test('what the judge did not answer is counted apart from what could not be read; who answered is told', async () => {
    const cache = await mkdtemp(join(folder, 'silent-'));
    const speaking = judgeThat(({ id }) => (id === 'b/2' ? 'Hm.' : '6 4'));
    const judge: Responder = {
      ...speaking,
      async answerAll(requests, { onAnswer }) {
        const silent = requests.filter(({ id }) => id === 'a/1');
        await speaking.answerAll(
          requests.filter((request) => !silent.includes(request)),
          { onAnswer: (answer) => onAnswer({ ...answer, model: 'judge-1-2026-01-01' }) },
        );
        return silent.map(({ id }) => ({ id, message: 'status 500' }));
      },
    };
    const { numUnanswered, numUnparsable, numJudged, failures, models, score } = await judgeResponses(judge, rows, {
      cache,
    });
    assert.deepEqual([numUnanswered, numUnparsable, numJudged, failures.length, score], [1, 1, 0, 1, null]);
    assert.deepEqual(models, ['judge-1-2026-01-01']);
  });

  test('a response with one readable order only has no score', async () => {
    const cache = await mkdtemp(join(folder, 'half-'));
    const judge = judgeThat(({ id }) =>
      id === 'a/1' ? 'I cannot say.' : id.endsWith('/1') ? '6 4' : id.endsWith('/2') ? '5 5' : 'x',
    );
    const { responses, numUnparsable, score } = await judgeResponses(judge, rows, { cache });
    assert.deepEqual(
      responses.map((row) => row.score),
      [null, 55],
    );
    assert.deepEqual([numUnparsable, score], [1, 55]);
  });
});
