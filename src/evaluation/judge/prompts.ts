/** The judge's words, and what is read from its answer. */
import type { ChatRequest } from '../../inference/endpoint/responder.js';

type ChatMessage = ChatRequest['messages'][number];

const SYSTEM = 'You are a helpful and precise assistant for checking the quality of the answer.';

const REQUEST = `We would like to request your feedback on the performance of two AI assistants in response to the user question displayed above.
Please rate the helpfulness, relevance, accuracy, level of details of their responses. Each assistant receives an overall score on a scale of 1 to 10, where a higher score indicates better overall performance.
Please first output a single line containing only two values indicating the scores for Assistant 1 and 2, respectively. The two scores are separated by a space. In the subsequent line, please provide a comprehensive explanation of your evaluation, avoiding any potential bias and ensuring that the order in which the responses were presented does not affect your judgment.`;

/** What makes two judgements comparable, beside the judge itself. */
export const JUDGE_PROMPTS_VERSION = 1;

/** The judge answers the question itself: its answer is the reference. */
export const referenceMessages = (question: string): ChatMessage[] => [{ role: 'user', content: question }];

/**
 * The judge compares two answers to a question.
 * @see the prompt of Vicuna's evaluation (LMSYS, 2023), which arXiv 2511.10643 uses after MiniLLM (arXiv 2306.08543)
 */
export const comparisonMessages = (question: string, first: string, second: string): ChatMessage[] => [
  { role: 'system', content: SYSTEM },
  {
    role: 'user',
    content: `[Question]
${question}

[The Start of Assistant 1's Answer]
${first}

[The End of Assistant 1's Answer]

[The Start of Assistant 2's Answer]
${second}

[The End of Assistant 2's Answer]

[System]
${REQUEST}`,
  },
];

const LOWEST = 1;
const HIGHEST = 10;
/** Two numbers and nothing else, but for a comma, a slash or a vertical bar between them and the like around them. */
const SCORES = /^[\s*`"'([]*(\d+(?:\.\d+)?)[\s,;/|]+(\d+(?:\.\d+)?)[\s*`"')\].]*$/;

/** The two scores of the first line that is not empty; undefined where it does not hold exactly two numbers from 1 to 10. */
export function parseScores(answer: string): readonly [first: number, second: number] | undefined {
  const line = answer.split('\n').find((text) => text.trim() !== '');
  const [, first, second] = SCORES.exec(line ?? '') ?? [];
  if (first === undefined) return undefined;
  const scores = [Number(first), Number(second)] as const;
  return scores.every((score) => score >= LOWEST && score <= HIGHEST) ? scores : undefined;
}
