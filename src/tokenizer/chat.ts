import { ConfigError, DataError, messageOf } from '../support/errors.js';
import { type CompiledTemplate, compileTemplate } from './chat-template.js';
import type { ChatMessage, Tokenizer } from './types.js';

export interface ChatOptions {
  /** Ends with the beginning of the assistant's turn, for the model to go on; default false. */
  readonly addGenerationPrompt?: boolean;
  /** What `strftime_now` of the template reads, in UTC; default the current time. Llama 3 writes the date into the prompt. */
  readonly now?: Date;
}

/**
 * The text of a conversation by the checkpoint's own chat template. Throws ConfigError where the checkpoint has no template,
 * DataError with the template's own message where it refuses the messages (an unknown role, a wrong order of turns).
 */
export function renderChat(tokenizer: Tokenizer, messages: readonly ChatMessage[], options: ChatOptions = {}): string {
  const { chatTemplate } = tokenizer;
  if (chatTemplate === undefined) {
    throw new ConfigError(
      'chat template: this checkpoint has none, so messages cannot become text. Give rows with "prompt", or a tokenizer with a template.',
    );
  }
  checkMessages(messages);
  const { addGenerationPrompt = false, now = new Date() } = options;
  try {
    return compiledTemplateOf(tokenizer, chatTemplate)(namesOf(tokenizer, messages, addGenerationPrompt), now);
  } catch (error) {
    throw new DataError(
      `chat template: ${messageOf(error)} (messages: ${messages.map(({ role }) => role).join(', ')})`,
    );
  }
}

/**
 * Ids of a conversation. The template writes bos itself where the model wants it, so the tokenizer does not add another.
 * Throws as `renderChat` does.
 */
export function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): number[] {
  return tokenizer.encode(renderChat(tokenizer, messages, options), { addSpecialTokens: false });
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (messages.length === 0) throw new DataError('messages: the conversation is empty. Give at least one message.');
  for (const [index, message] of messages.entries()) {
    for (const key of ['role', 'content'] as const) {
      if (typeof message?.[key] !== 'string') throw new DataError(`messages[${index}].${key}: expected a string.`);
    }
  }
}

// Compiling costs more than rendering, and a data set renders one template many times.
const compiled = new WeakMap<Tokenizer, CompiledTemplate>();

function compiledTemplateOf(tokenizer: Tokenizer, source: string): CompiledTemplate {
  const known = compiled.get(tokenizer);
  if (known !== undefined) return known;
  const template = compileTemplate(source);
  compiled.set(tokenizer, template);
  return template;
}

/** The names that templates expect of the caller, as in `transformers`; all others are undefined. */
function namesOf(tokenizer: Tokenizer, messages: readonly ChatMessage[], addGenerationPrompt: boolean) {
  const tokenText = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id));
  return {
    messages: messages.map((message) => ({ ...message })),
    add_generation_prompt: addGenerationPrompt,
    bos_token: tokenText(tokenizer.bosTokenId),
    eos_token: tokenText(tokenizer.eosTokenIds[0]),
    pad_token: tokenText(tokenizer.padTokenId),
  };
}
