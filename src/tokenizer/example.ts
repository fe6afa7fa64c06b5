import { ConfigError, DataError } from '../support/errors.js';
import { encodeChat, renderChat } from './chat.js';
import type { ChatMessage, Tokenizer } from './types.js';

/** A row of text to learn from or to continue. */
export type TextRow =
  | { readonly prompt: string; readonly response?: string | undefined; readonly messages?: undefined }
  | { readonly messages: readonly ChatMessage[] };

/** Ids of a row; those from `responseStart` on are the response, which a loss counts. */
export interface EncodedExample {
  readonly tokens: number[];
  /** Index of the first token of the response; the number of tokens where there is none. */
  readonly responseStart: number;
}

export interface ExampleOptions {
  /** auto: a prompt becomes a user's message where the tokenizer has a chat template. never: it is text to go on from. */
  readonly chat?: 'auto' | 'never';
  /** The time for templates that write the date; default the current time. */
  readonly now?: Date;
}

/**
 * Ids of a row and where its response begins. The response contains the token that ends the turn and nothing after it. The
 * ids before `responseStart` are exactly those of the prompt alone, as a model sees them when it answers.
 * Throws DataError for a row that is no text row, ConfigError for messages where no template is to be used.
 */
export function encodeExample(tokenizer: Tokenizer, row: TextRow, options: ExampleOptions = {}): EncodedExample {
  const { chat = 'auto', ...chatOptions } = options;
  if (row.messages !== undefined) {
    if (chat === 'never') throw new ConfigError('chat: rows with "messages" need the chat template; use "auto".');
    if (!Array.isArray(row.messages)) throw new DataError('messages: expected a list of {role, content}.');
    return encodeConversation(tokenizer, row.messages, chatOptions);
  }
  const { prompt, response } = row;
  if (typeof prompt !== 'string') throw new DataError('row: expected "prompt" (text) or "messages".');
  if (response !== undefined && typeof response !== 'string') throw new DataError('response: expected text.');
  if (chat === 'never' || tokenizer.chatTemplate === undefined) return encodePlain(tokenizer, prompt, response);
  const user = { role: 'user', content: prompt };
  const assistant = response === undefined ? [] : [{ role: 'assistant', content: response }];
  return encodeConversation(tokenizer, [user, ...assistant], chatOptions);
}

function encodePlain(tokenizer: Tokenizer, prompt: string, response: string | undefined): EncodedExample {
  const { bosTokenId, eosTokenIds } = tokenizer;
  // Only bos: a tokenizer that also closes texts would put its eos between prompt and response.
  const addsBos = bosTokenId !== undefined && tokenizer.encode('')[0] === bosTokenId;
  const bos = addsBos ? [bosTokenId] : [];
  if (response === undefined) {
    const tokens = [...bos, ...tokenizer.encode(prompt, { addSpecialTokens: false })];
    return { tokens, responseStart: tokens.length };
  }
  const { tokens, responseStart } = encodeInTwo(tokenizer, prompt, response);
  return { tokens: [...bos, ...tokens, ...eosTokenIds.slice(0, 1)], responseStart: bos.length + responseStart };
}

function encodeConversation(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: { readonly now?: Date },
): EncodedExample {
  const last = messages.at(-1);
  if (last?.role !== 'assistant') {
    const tokens = encodeChat(tokenizer, messages, { ...options, addGenerationPrompt: true });
    return { tokens, responseStart: tokens.length };
  }
  if (messages.length === 1)
    throw new DataError('messages: an answer without a question; put a user message before it.');
  const prompt = renderChat(tokenizer, messages.slice(0, -1), { ...options, addGenerationPrompt: true });
  const whole = renderChat(tokenizer, messages, options);
  if (whole.startsWith(prompt)) {
    const { tokens, responseStart } = encodeInTwo(tokenizer, prompt, whole.slice(prompt.length));
    return { tokens: cutAfterEndOfTurn(tokenizer, tokens, responseStart), responseStart };
  }
  // The template writes earlier or finished turns differently (DeepSeek-R1 opens a thought for the model to go on from and
  // leaves it out of finished turns): what the model would have sampled is the content itself.
  const content = withoutOpenedThought(prompt, last.content);
  const promptTokens = tokenizer.encode(prompt, { addSpecialTokens: false });
  const responseTokens = encodeContinuation(tokenizer, content);
  return {
    tokens: [...promptTokens, ...responseTokens, ...tokenizer.eosTokenIds.slice(0, 1)],
    responseStart: promptTokens.length,
  };
}

/** Ids of prompt + response, cut at a token boundary: of the whole text where the prompt's ids begin it, else of each part. */
function encodeInTwo(tokenizer: Tokenizer, prompt: string, response: string): EncodedExample {
  const promptTokens = tokenizer.encode(prompt, { addSpecialTokens: false });
  const responseStart = promptTokens.length;
  // Whole words are joined by spaces: put together without one, two words would become another.
  if (tokenizer.assembly.separator === '') {
    const tokens = tokenizer.encode(prompt + response, { addSpecialTokens: false });
    if (promptTokens.every((id, index) => tokens[index] === id)) return { tokens, responseStart };
  }
  return { tokens: [...promptTokens, ...encodeContinuation(tokenizer, response)], responseStart };
}

/** Ids of a text that goes on from another: without the space that SentencePiece writes before a text. */
function encodeContinuation(tokenizer: Tokenizer, text: string): number[] {
  const encode = (part: string) => tokenizer.encode(part, { addSpecialTokens: false });
  const { strippedSpaces, firstTokenWithoutSpaces } = tokenizer.assembly;
  if (strippedSpaces === 0 && !firstTokenWithoutSpaces) return encode(text);
  // The space then stands before the line break, whose ids are cut off again.
  const before = encode('\n');
  const ids = encode(`\n${text}`);
  return before.every((id, index) => ids[index] === id) ? ids.slice(before.length) : encode(text);
}

/** Templates write a line break after the token that ends a turn; a model stops at that token and never sees it. */
function cutAfterEndOfTurn(tokenizer: Tokenizer, tokens: number[], responseStart: number): number[] {
  const end = tokens.findLastIndex((id) => tokenizer.eosTokenIds.includes(id));
  return end < responseStart ? tokens : tokens.slice(0, end + 1);
}

function withoutOpenedThought(prompt: string, content: string): string {
  const opened = '<think>\n';
  return prompt.endsWith(opened) && content.startsWith(opened) ? content.slice(opened.length) : content;
}
