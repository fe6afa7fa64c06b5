import { Environment, Interpreter, Template } from '@huggingface/jinja';

/** A template that can be rendered many times. Throws the library's errors: for a template that is none, or that refuses. */
export type CompiledTemplate = (names: Readonly<Record<string, unknown>>, now: Date) => string;

/**
 * Compiles a chat template (Jinja as `transformers` configures it). To the names given come those every template may use:
 * constants, range, raise_exception and strftime_now, which reads `now` in UTC.
 */
export function compileTemplate(source: string): CompiledTemplate {
  const { parsed } = new Template(source);
  useOwnStrip(parsed);
  return (names, now) => {
    const environment = new Environment();
    const strftime_now = (format: string) => formatTime(now, format);
    for (const [name, value] of Object.entries({ ...GLOBALS, strftime_now, ...names })) environment.set(name, value);
    return String((new Interpreter(environment).run(parsed) as { readonly value?: unknown }).value);
  };
}

const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range: (start: number, stop?: number, step = 1) =>
    stop === undefined ? range(0, start, 1) : range(start, stop, step),
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  azeotrope_strip: (text: unknown, characters: unknown) => strip(text, characters, true, true),
  azeotrope_lstrip: (text: unknown, characters: unknown) => strip(text, characters, true, false),
  azeotrope_rstrip: (text: unknown, characters: unknown) => strip(text, characters, false, true),
};

/**
 * Replaces `text.strip(characters)` and its like by functions of our own: the library takes no notice of the argument and
 * strips all white space, which takes the indentation from Qwen3's answers.
 */
function useOwnStrip(node: unknown): void {
  if (typeof node !== 'object' || node === null) return;
  for (const child of Object.values(node)) useOwnStrip(child);
  const call = node as { type?: string; callee?: CallNode; args?: unknown[] };
  const name = call.callee?.property?.value ?? '';
  if (call.type !== 'CallExpression' || call.args?.length !== 1) return;
  if (call.callee?.type !== 'MemberExpression' || call.callee.computed || !/^[lr]?strip$/.test(name)) return;
  call.args = [call.callee.object, ...call.args];
  call.callee = { type: 'Identifier', value: `azeotrope_${name}` };
}

interface CallNode {
  readonly type: string;
  readonly value?: string;
  readonly object?: unknown;
  readonly property?: { readonly value?: string };
  readonly computed?: boolean;
}

/** Python's str.strip with a set of characters. */
function strip(text: unknown, characters: unknown, left: boolean, right: boolean): string {
  if (typeof text !== 'string' || typeof characters !== 'string') throw new Error('strip needs a text and characters');
  const letters = [...text];
  let start = 0;
  let end = letters.length;
  while (left && start < end && characters.includes(letters[start])) start++;
  while (right && end > start && characters.includes(letters[end - 1])) end--;
  return letters.slice(start, end).join('');
}

// Templates come from strangers; none needs to count further than a conversation is long.
const LONGEST_RANGE = 1e6;

function range(start: number, stop: number, step: number): number[] {
  if (step === 0) throw new Error('range() arg 3 must not be zero');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= LONGEST_RANGE)) throw new Error(`range() of ${length} numbers`);
  return Array.from({ length }, (_, index) => start + index * step);
}

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** Python's strftime in English and UTC, for the directives that templates use; others stay as they are. */
function formatTime(time: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const month = MONTHS[time.getUTCMonth()];
  const day = DAYS[time.getUTCDay()];
  const values: Readonly<Record<string, string>> = {
    '%Y': String(time.getUTCFullYear()),
    '%y': two(time.getUTCFullYear() % 100),
    '%m': two(time.getUTCMonth() + 1),
    '%d': two(time.getUTCDate()),
    '%B': month,
    '%b': month.slice(0, 3),
    '%A': day,
    '%a': day.slice(0, 3),
    '%H': two(time.getUTCHours()),
    '%M': two(time.getUTCMinutes()),
    '%S': two(time.getUTCSeconds()),
    '%%': '%',
  };
  return format.replace(/%./g, (directive) => values[directive] ?? directive);
}
