import { arrayAt, booleanAt, type JsonObject, objectAt, refuse, stringAt } from './file-checks.js';
import { patternAt } from './normalizer-rules.js';

/** The split of GPT-2, which a ByteLevel pre-tokenizer applies by itself. */
export const GPT2_SPLIT = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

// What `\w` is to Rust's regular expressions, which Whitespace uses; the joiners are not in the Oniguruma class.
const RUST_WORD = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d`;

/** One step that cuts at every match of a regular expression and keeps both the matches and what lies between. */
export function splitAround(regex: string): JsonObject {
  return { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
}

/** One step that keeps the matches only. */
function keepMatches(regex: string): JsonObject {
  return { type: 'Split', pattern: { Regex: regex }, behavior: 'Removed', invert: true };
}

/** The step that spells bytes in GPT-2's alphabet and cuts nowhere. */
export const SPELL_BYTES: JsonObject = {
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: false,
  use_regex: false,
};

/**
 * Checks the `pre_tokenizer` of a tokenizer.json and rewrites it into steps that the JavaScript library performs exactly as
 * the Rust library does: its regular expressions are translated with Unicode white space and digits, but its built-in
 * classes (Digits, Whitespace, ByteLevel's own split) use JavaScript's `\s`, `\d` and `\w`, which differ.
 * Throws ModelLoadError for kinds it does not know.
 */
export function preTokenizerRules(value: unknown): JsonObject | null {
  if (value === undefined || value === null) return null;
  return { type: 'Sequence', pretokenizers: stepsOf(value, 'pre_tokenizer') };
}

function stepsOf(value: unknown, where: string): JsonObject[] {
  const rule = objectAt(value, where);
  switch (rule.type) {
    case 'Sequence': {
      const list = arrayAt(rule.pretokenizers, `${where}.pretokenizers`);
      return list.flatMap((item, index) => stepsOf(item, `${where}.pretokenizers[${index}]`));
    }
    case 'ByteLevel': {
      const steps: JsonObject[] = [];
      if (booleanAt(rule.add_prefix_space, `${where}.add_prefix_space`, true)) {
        // A match without width would also be found between the halves of a surrogate pair; "$&" is the character matched.
        steps.push({ type: 'Replace', pattern: { Regex: String.raw`\A[^ ]` }, content: ' $&' });
      }
      if (booleanAt(rule.use_regex, `${where}.use_regex`, true)) steps.push(splitAround(GPT2_SPLIT));
      return [...steps, SPELL_BYTES];
    }
    case 'Digits':
      return [
        splitAround(booleanAt(rule.individual_digits, `${where}.individual_digits`, false) ? '\\p{N}' : '\\p{N}+'),
      ];
    case 'Whitespace':
      return [keepMatches(`[${RUST_WORD}]+|[^${RUST_WORD}\\s]+`)];
    case 'WhitespaceSplit':
      return [keepMatches(String.raw`\S+`)];
    case 'Punctuation':
      if (!isBehaviour(rule.behavior ?? 'Isolated', 'isolated')) refuse(`${where}.behavior`, 'Isolated', rule.behavior);
      return [splitAround('[\\p{P}$+<=>^`|~]')];
    case 'Metaspace':
      return metaspaceSteps(rule, where);
    case 'Split':
      return [splitStep(rule, where)];
    default:
      return refuse(
        `${where}.type`,
        'ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace or WhitespaceSplit',
        rule.type,
      );
  }
}

function metaspaceSteps(rule: JsonObject, where: string): JsonObject[] {
  const replacement = stringAt(rule.replacement ?? '▁', `${where}.replacement`);
  if ([...replacement].length !== 1) refuse(`${where}.replacement`, 'one character', replacement);
  const metaspace = { type: 'Metaspace', replacement, prepend_scheme: prependSchemeOf(rule, where) };
  const mark = `\\x{${replacement.codePointAt(0)?.toString(16)}}`;
  return booleanAt(rule.split, `${where}.split`, true) ? [metaspace, splitAround(`${mark}[^${mark}]*`)] : [metaspace];
}

/** The scheme of a Metaspace rule, which older files write as `add_prefix_space`. */
export function prependSchemeOf(rule: JsonObject, where: string): string {
  const scheme = rule.prepend_scheme ?? (rule.add_prefix_space === false ? 'never' : 'always');
  if (scheme !== 'always' && scheme !== 'first' && scheme !== 'never') {
    refuse(`${where}.prepend_scheme`, 'always, first or never', scheme);
  }
  return scheme;
}

function splitStep(rule: JsonObject, where: string): JsonObject {
  const pattern = patternAt(rule.pattern, `${where}.pattern`);
  const regex = 'Regex' in pattern ? pattern.Regex : pattern.String.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const invert = booleanAt(rule.invert, `${where}.invert`, false);
  if (isBehaviour(rule.behavior, 'isolated')) return splitAround(regex);
  if (isBehaviour(rule.behavior, 'removed') && invert) return keepMatches(regex);
  return refuse(`${where}.behavior`, 'Isolated, or Removed with invert', rule.behavior);
}

function isBehaviour(value: unknown, name: string): boolean {
  return typeof value === 'string' && value.toLowerCase() === name;
}
