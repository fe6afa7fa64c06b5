import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseHubReference } from './hub.js';
import { hubSettings } from './hub-settings.js';

const folder = mkdtempSync(join(tmpdir(), 'hub-settings-'));
after(() => rmSync(folder, { recursive: true }));

test('names of models on the hub are told from paths', () => {
  assert.deepEqual(parseHubReference('Qwen/Qwen3-0.6B@v1.0'), {
    repository: 'Qwen/Qwen3-0.6B',
    revision: 'v1.0',
    ggufFile: undefined,
  });
  assert.deepEqual(parseHubReference('a/b/sub/m.gguf@refs/pr/1'), {
    repository: 'a/b',
    revision: 'refs/pr/1',
    ggufFile: 'sub/m.gguf',
  });
  for (const path of [
    'model',
    './a/b',
    '../a',
    '/a/b',
    'a/b/c',
    'a/..',
    'a/b@../x',
    'a--b/c',
    'a/b@',
    'a\\b/c',
    '',
    'a/b/../m.gguf',
  ])
    assert.equal(parseHubReference(path), undefined, path);
});

test('the usual variables decide where, who and whether', () => {
  const home = join(folder, 'home');
  assert.deepEqual(
    hubSettings({ HF_HOME: home, HF_TOKEN: ' t \n', HF_ENDPOINT: 'https://mirror.example/', HF_HUB_OFFLINE: '1' }),
    {
      endpoint: 'https://mirror.example',
      token: 't',
      cacheFolder: join(home, 'hub'),
      isOffline: true,
    },
  );
  assert.equal(hubSettings({ HF_HOME: home, HF_HUB_CACHE: '/elsewhere' }).cacheFolder, '/elsewhere');
  const plain = hubSettings({ XDG_CACHE_HOME: folder });
  assert.deepEqual(plain, {
    endpoint: 'https://huggingface.co',
    token: undefined,
    cacheFolder: join(folder, 'huggingface', 'hub'),
    isOffline: false,
  });
  writeFileSync(join(folder, 'token'), 'stored\n');
  assert.equal(hubSettings({ HF_HOME: home, HF_TOKEN_PATH: join(folder, 'token') }).token, 'stored');
  assert.throws(() => hubSettings({ HF_ENDPOINT: 'nonsense' }), /HF_ENDPOINT is not a web address/);
});
