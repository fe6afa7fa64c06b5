/** The thread of `createGrader`: one comparison a message. */
import { parentPort } from 'node:worker_threads';
import { messageOf } from '../../support/errors.js';
import type { WorkerReply } from './grader.js';
import { judgeAnswer } from './judge.js';

const reply = (message: WorkerReply) => parentPort!.postMessage(message);

parentPort!.on('message', ({ expected, actual }: { expected: string; actual: string }) => {
  try {
    reply({ judgement: judgeAnswer(expected, actual) });
  } catch (error) {
    reply({ failure: messageOf(error) });
  }
});
reply({ isReady: true });
