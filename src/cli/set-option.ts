/** `--set key=value`: single values of a configuration file from the command line. */
import { parse } from 'yaml';
import { z } from 'zod';
import { ConfigError, messageOf } from '../support/errors.js';

export const setOption = z
  .array(z.string())
  .default([])
  .meta({ description: 'A value of the configuration, such as task.maxTokens=512', placeholder: 'key=value' });

/**
 * The values with those of `key=value` in their places; a key is written with points (`arms.0.temperature`), a value as in YAML.
 * Errors: ConfigError for what has no such form, or a key inside something that is neither object nor list.
 */
export function applySettings(values: unknown, settings: readonly string[]): unknown {
  return settings.reduce(applySetting, values);
}

function applySetting(values: unknown, setting: string): unknown {
  const end = setting.indexOf('=');
  const path = setting.slice(0, Math.max(0, end)).split('.');
  if (end < 1 || path.includes('')) {
    throw new ConfigError(`--set ${setting}: expected key=value, such as task.maxTokens=512.`);
  }
  let value: unknown;
  try {
    value = parse(setting.slice(end + 1));
  } catch (error) {
    throw new ConfigError(`--set ${setting}: the value is no YAML (${messageOf(error)}).`);
  }
  return placed(values, path, { value, setting });
}

function placed(base: unknown, path: readonly string[], what: { value: unknown; setting: string }): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return what.value;
  if (Array.isArray(base)) {
    const index = Number(key);
    if (Number.isInteger(index) && index >= 0 && index <= base.length) {
      return Object.assign([...base], { [index]: placed(base[index], rest, what) });
    }
    throw new ConfigError(`--set ${what.setting}: the list has ${base.length} entries, '${key}' is none of them.`);
  }
  if (base === undefined || base === null || typeof base === 'object') {
    return { ...base, [key]: placed((base as Record<string, unknown> | undefined)?.[key], rest, what) };
  }
  throw new ConfigError(`--set ${what.setting}: '${key}' lies inside a ${typeof base}. Set what it lies in.`);
}
