import { arrayAt, idAt, objectAt, refuse, stringAt } from './file-checks.js';

/** Ids that a tokenizer puts around a text. */
export interface Surround {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/**
 * Reads the `post_processor` of a tokenizer.json: TemplateProcessing for one text; ByteLevel, which only moves offsets; and
 * sequences of them. Throws ModelLoadError for other kinds and for ids at or above `limit`.
 */
export function readPostProcessor(value: unknown, limit: number, where = 'post_processor'): Surround {
  if (value === undefined || value === null) return { before: [], after: [] };
  const rule = objectAt(value, where);
  if (rule.type === 'ByteLevel') return { before: [], after: [] };
  if (rule.type === 'TemplateProcessing') return templateSurround(rule.single, rule.special_tokens, limit, where);
  if (rule.type === 'Sequence') {
    const list = arrayAt(rule.processors, `${where}.processors`);
    const surrounds = list.map((item, index) => readPostProcessor(item, limit, `${where}.processors[${index}]`));
    return {
      before: surrounds.toReversed().flatMap((item) => item.before),
      after: surrounds.flatMap((item) => item.after),
    };
  }
  return refuse(`${where}.type`, 'ByteLevel, Sequence or TemplateProcessing', rule.type);
}

function templateSurround(single: unknown, specialTokens: unknown, limit: number, where: string): Surround {
  const pieces = arrayAt(single, `${where}.single`);
  const table = objectAt(specialTokens ?? {}, `${where}.special_tokens`);
  const before: number[] = [];
  const after: number[] = [];
  let textSeen = false;
  for (const [index, item] of pieces.entries()) {
    const at = `${where}.single[${index}]`;
    const piece = objectAt(item, at);
    if ('Sequence' in piece) {
      if (textSeen) refuse(at, 'the text once', 'a second Sequence');
      textSeen = true;
      continue;
    }
    const name = stringAt(objectAt(piece.SpecialToken, `${at}.SpecialToken`).id, `${at}.SpecialToken.id`);
    const idsAt = `${where}.special_tokens[${JSON.stringify(name)}].ids`;
    const entry = Object.hasOwn(table, name) ? table[name] : undefined;
    const ids = arrayAt(objectAt(entry, idsAt).ids, idsAt).map((id) => idAt(id, idsAt, limit));
    (textSeen ? after : before).push(...ids);
  }
  if (!textSeen) refuse(`${where}.single`, 'a template with the text', pieces);
  return { before, after };
}
