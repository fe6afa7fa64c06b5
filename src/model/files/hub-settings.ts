import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../../support/errors.js';

/** Where the hub is, who asks and where downloads are kept, from the variables that Hugging Face's own tools read. */
export interface HubSettings {
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly cacheFolder: string;
  readonly isOffline: boolean;
}

/**
 * HF_ENDPOINT, HF_TOKEN (or the file that `hf auth login` writes), HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_HUB_OFFLINE.
 * @throws ConfigError where HF_ENDPOINT is not a web address
 */
export function hubSettings(environment: NodeJS.ProcessEnv = process.env): HubSettings {
  const cacheHome = environment.XDG_CACHE_HOME || join(homedir(), '.cache');
  const home = environment.HF_HOME || join(cacheHome, 'huggingface');
  const endpoint = (environment.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol))
    throw new ConfigError(
      'HF_ENDPOINT is not a web address. Set it to something like https://huggingface.co, or unset it.',
    );
  const token =
    environment.HF_TOKEN ||
    environment.HUGGING_FACE_HUB_TOKEN ||
    storedToken(environment.HF_TOKEN_PATH || join(home, 'token'));
  return {
    endpoint,
    token: token?.trim() || undefined,
    cacheFolder: environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || join(home, 'hub'),
    isOffline: /^(1|true|yes|on)$/i.test(environment.HF_HUB_OFFLINE ?? ''),
  };
}

function storedToken(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // not logged in: public models need no token
  }
}

/** A message without the token, wherever a server or a library may have put it. */
export function withoutToken(message: string, settings: HubSettings): string {
  const { username, password } = new URL(settings.endpoint);
  const secrets = [settings.token, decodeURIComponent(password), password, password ? username : ''];
  return secrets.reduce<string>((text, secret) => (secret ? text.replaceAll(secret, '***') : text), message);
}
