import { z } from 'zod';
import { invariant } from '../support/errors.js';

/** An option as the command line sees it, derived from a key of a command's schema. */
export type OptionSpec = {
  readonly key: string;
  /** Without dashes: `max-tokens` for `maxTokens`. */
  readonly flag: string;
  readonly property: Property;
  readonly isRequired: boolean;
};

/** The part of a JSON schema that an option can be. */
export type Property = {
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array';
  readonly description: string;
  readonly unit?: string;
  readonly placeholder?: string;
  readonly whenAbsent?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly items?: Omit<Property, 'description'>;
};

/** The options of a schema, in its order. Options are text, numbers, true or false, one of a list, or lists of these. */
export function optionsOf(schema: z.ZodObject): OptionSpec[] {
  const json = z.toJSONSchema(schema, { io: 'input' });
  return Object.entries(json.properties ?? {}).map(([key, value]) => {
    const property = value as Property;
    const types = ['string', 'integer', 'number', 'boolean', 'array'];
    invariant(types.includes(property.type), `the option ${key} has no type that a flag can give`);
    invariant(property.description, `the option ${key} has no description`);
    const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return { key, flag, property, isRequired: json.required?.includes(key) ?? false };
  });
}

/** What an option expects, in words: `a whole number of at least 1`. */
export function describeType(property: Omit<Property, 'description'>): string {
  if (property.enum) return `one of ${property.enum.join(', ')}`;
  if (property.type === 'array')
    return `a list, each item ${property.items ? describeType(property.items) : 'anything'}`;
  if (property.type === 'boolean') return 'true or false';
  if (property.type === 'string') return 'text';
  const bounds: string[] = [];
  // zod bounds whole numbers by the safe integers: nothing to tell
  const isTold = (bound: number | undefined): bound is number =>
    bound !== undefined && Math.abs(bound) !== Number.MAX_SAFE_INTEGER;
  if (isTold(property.minimum)) bounds.push(`at least ${property.minimum}`);
  if (isTold(property.exclusiveMinimum)) bounds.push(`more than ${property.exclusiveMinimum}`);
  if (isTold(property.maximum)) bounds.push(`at most ${property.maximum}`);
  if (isTold(property.exclusiveMaximum)) bounds.push(`less than ${property.exclusiveMaximum}`);
  const noun = property.type === 'integer' ? 'a whole number' : 'a number';
  return bounds.length > 0 ? `${noun}, ${bounds.join(' and ')}` : noun;
}

/** The help of an option: description, unit, choices, default. */
export function describeOption({ property, isRequired }: OptionSpec): string {
  const notes: string[] = [];
  if (property.unit) notes.push(`in ${property.unit}`);
  if (property.enum) notes.push(property.enum.join(' | '));
  if (property.type === 'array') notes.push('may be repeated');
  const isEmptyList = Array.isArray(property.default) && property.default.length === 0;
  if (isRequired) notes.push('required');
  else if (property.whenAbsent) notes.push(`default: ${property.whenAbsent}`);
  else if (property.default !== undefined && property.default !== false && !isEmptyList) {
    notes.push(`default: ${String(property.default)}`);
  }
  return notes.length > 0 ? `${property.description} (${notes.join('; ')})` : property.description;
}
