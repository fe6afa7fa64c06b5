import { arrayAt, booleanAt, type JsonObject, objectAt, refuse, stringAt } from './file-checks.js';

/**
 * Checks the `normalizer` of a tokenizer.json and rewrites it where the JavaScript library would read it otherwise than the
 * Rust library does. Throws ModelLoadError for kinds that the library only approximates: wrong ids are worse than none.
 */
export function normalizerRules(value: unknown, where = 'normalizer'): JsonObject | null {
  if (value === undefined || value === null) return null;
  const rule = objectAt(value, where);
  switch (rule.type) {
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
    case 'Lowercase':
      return { type: rule.type };
    case 'Prepend':
      return { type: 'Prepend', prepend: stringAt(rule.prepend, `${where}.prepend`) };
    case 'Strip':
      return {
        type: 'Strip',
        strip_left: booleanAt(rule.strip_left, `${where}.strip_left`, false),
        strip_right: booleanAt(rule.strip_right, `${where}.strip_right`, false),
      };
    case 'Replace':
      return {
        type: 'Replace',
        pattern: patternAt(rule.pattern, `${where}.pattern`),
        // "$&" and its like are substitutions for JavaScript's replaceAll and plain text for Rust.
        content: stringAt(rule.content, `${where}.content`).replaceAll('$', '$$$$'),
      };
    case 'Sequence': {
      const list = arrayAt(rule.normalizers, `${where}.normalizers`);
      return {
        type: 'Sequence',
        normalizers: list.map((item, i) => normalizerRules(item, `${where}.normalizers[${i}]`)),
      };
    }
    default:
      return refuse(`${where}.type`, 'NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip or Sequence', rule.type);
  }
}

/** `{String}` or `{Regex}`. */
export function patternAt(value: unknown, where: string): { readonly String: string } | { readonly Regex: string } {
  const pattern = objectAt(value, where);
  if (typeof pattern.String === 'string') return { String: pattern.String };
  if (typeof pattern.Regex === 'string') return { Regex: pattern.Regex };
  return refuse(where, 'a String or a Regex', undefined);
}
