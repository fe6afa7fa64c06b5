/** Whoever answers conversations: an endpoint, or a model in memory. */
import type { ChatMessage } from '../../tokenizer/types.js';

export interface ChatRequest {
  /** Names the row in messages and results. */
  readonly id: string;
  readonly messages: readonly ChatMessage[];
}

export interface ChatAnswer {
  readonly id: string;
  readonly text: string;
  readonly finish: 'stop' | 'length';
  /** Tokens that the answer cost, as its giver counts them; 0 where it does not tell. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** The model that answered, as the endpoint names it: an alias is answered by whatever it stands for on the day. */
  readonly model?: string;
}

export interface ChatFailure {
  readonly id: string;
  /** What went wrong at last, without keys. */
  readonly message: string;
}

export interface Responder {
  /** Model and settings: equal identities give answers that may stand for each other. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** Answers every request, in any order, or tells what could not be answered. Errors: those that concern all requests alike. */
  answerAll(
    requests: readonly ChatRequest[],
    options: { onAnswer: (answer: ChatAnswer) => void; signal?: AbortSignal | undefined },
  ): Promise<ChatFailure[]>;
}
