import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openCheckpoint } from '../checkpoint.js';
import {
  COMMIT,
  failure,
  hubTest,
  isWeights,
  listing,
  published,
  reference,
  sendJson,
  sha256,
  TOKEN,
} from './hub.fixture.js';
import { fetchFromHub } from './hub.js';

hubTest(
  'a model is fetched into the cache of the usual layout, and opens; only needed files are fetched',
  async (hub) => {
    hub.files['README.md'] = Buffer.from('no');
    hub.files['pytorch_model.bin'] = Buffer.from('no');
    const seen: number[] = [];
    const checkpoint = await openCheckpoint('org/model', {
      ...hub.options,
      onProgress: ({ file, doneBytes, totalBytes }) =>
        file === 'model.safetensors' && seen.push(doneBytes / totalBytes),
    });
    assert.equal(checkpoint.revision, COMMIT);
    assert.equal(checkpoint.config.hiddenSize, 32);
    assert.deepEqual(checkpoint.tokenizerSource, {
      kind: 'hugging-face',
      tokenizerJson: {},
      generationConfig: JSON.parse(published['generation_config.json'].toString()),
    });
    checkpoint.dispose();
    assert.equal(seen.at(-1), 1);
    const root = join(hub.cache, 'models--org--model');
    assert.equal(readFileSync(join(root, 'refs', 'main'), 'utf8'), COMMIT);
    assert.deepEqual(readdirSync(join(root, 'snapshots', COMMIT)).sort(), Object.keys(published).sort());
    assert.ok(existsSync(join(root, 'blobs', sha256(published['model.safetensors']))));
    assert.ok(hub.asked.every(({ authorization }) => authorization === `Bearer ${TOKEN}`));
  },
);

hubTest('what is cached is not fetched again, and serves offline and without network', async (hub) => {
  const first = await fetchFromHub(reference, hub.options);
  const numAsked = hub.asked.length;
  assert.deepEqual(await fetchFromHub(reference, hub.options), first);
  assert.ok(hub.asked.slice(numAsked).every(({ url }) => url.startsWith('/api/')));
  const numOnline = hub.asked.length;
  const offline = { ...hub.options, settings: { ...hub.options.settings!, isOffline: true } };
  assert.deepEqual(await fetchFromHub(reference, offline), first);
  assert.equal(hub.asked.length, numOnline);
  await hub.close();
  const unreachable = await fetchFromHub(reference, hub.options);
  assert.equal(unreachable.path, first.path);
  assert.match(unreachable.warnings[0], /cannot be reached .* The cached copy \(c0ffee00\) is used/);
});

hubTest('an interrupted download continues where it stopped, within a run and in the next one', async (hub) => {
  let numBroken = 0;
  hub.files['model.safetensors'] = published['model.safetensors'];
  hub.intercept = (request, response) => {
    if (!isWeights(request) || numBroken >= 3) return false;
    numBroken++;
    const start = Number(/\d+/.exec(request.headers.range ?? '0')![0]);
    const bytes = published['model.safetensors'].subarray(start);
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': bytes.length });
    response.write(bytes.subarray(0, 4096), () => setTimeout(() => response.destroy(), 20));
    return true;
  };
  const error = await failure(hub, { maxAttempts: 1 });
  assert.match(
    error.message,
    /model.safetensors: the download was interrupted after .* Run the command again: it continues/,
  );
  await fetchFromHub(reference, hub.options);
  const ranges = hub.asked.filter(({ url }) => url.endsWith('model.safetensors')).map(({ range }) => range);
  assert.deepEqual(ranges, [undefined, 'bytes=4096-', 'bytes=8192-', 'bytes=12288-']);
});

hubTest('a server that ignores ranges sends the whole file and it is right', async (hub) => {
  const target = join(hub.cache, 'models--org--model', 'blobs', sha256(published['model.safetensors']));
  hub.intercept = (request, response) => {
    if (!isWeights(request)) return false;
    if (!existsSync(`${target}.incomplete`))
      writeFileSync(`${target}.incomplete`, published['model.safetensors'].subarray(0, 100));
    response.end(published['model.safetensors']);
    return true;
  };
  await fetchFromHub(reference, hub.options);
  assert.equal(sha256(readFileSync(target)), sha256(published['model.safetensors']));
});

hubTest('a torn part of an earlier run is detected and fetched anew', async (hub) => {
  await fetchFromHub(reference, hub.options);
  const target = join(hub.cache, 'models--org--model', 'blobs', sha256(published['model.safetensors']));
  rmSync(target);
  writeFileSync(`${target}.incomplete`, randomBytes(500));
  await fetchFromHub(reference, hub.options);
  assert.equal(sha256(readFileSync(target)), sha256(published['model.safetensors']));
});

hubTest('content that does not have the announced hash or size is refused and removed', async (hub) => {
  for (const name of ['model.safetensors', 'tokenizer.json']) {
    hub.intercept = (request, response) => {
      if (!request.url!.endsWith(`/${name}`)) return false;
      response.end(randomBytes(published[name].length));
      return true;
    };
    assert.match((await failure(hub)).message, new RegExp(`${name}: what was downloaded does not have the .* hash`));
  }
  rmSync(hub.cache, { recursive: true });
  hub.intercept = (request, response) => {
    if (!isWeights(request)) return false;
    response.end(Buffer.concat([published['model.safetensors'], randomBytes(9)]));
    return true;
  };
  assert.match((await failure(hub)).message, /sends more than the \d+ bytes it announced/);
});

hubTest(
  'two who want the same model at once fetch it once after the other; a lock left by a dead process does not matter',
  async (hub) => {
    const blob = join(hub.cache, 'models--org--model', 'blobs', sha256(published['model.safetensors']));
    const sleeper = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
    let isReleased = false;
    hub.intercept = (request) => {
      if (isWeights(request)) assert.ok(isReleased, 'downloads although another process does');
      return false;
    };
    mkdirSync(dirname(blob), { recursive: true });
    writeFileSync(`${blob}.lock`, String(sleeper.pid));
    const fetched = fetchFromHub(reference, hub.options);
    await new Promise((resolve) => setTimeout(resolve, 500));
    isReleased = true;
    sleeper.kill('SIGKILL');
    await fetched;
    assert.deepEqual(
      readdirSync(dirname(blob)).filter((name) => name.includes('.')),
      [],
    );
  },
);

hubTest('two fetches within one process share the downloads', async (hub) => {
  const [first, second] = await Promise.all([
    fetchFromHub(reference, hub.options),
    fetchFromHub(reference, hub.options),
  ]);
  assert.deepEqual(first, second);
  assert.equal(hub.asked.filter(({ url }) => url.endsWith('model.safetensors')).length, 1);
});

hubTest('a blob cut short in the cache is fetched again', async (hub) => {
  await fetchFromHub(reference, hub.options);
  const blob = join(hub.cache, 'models--org--model', 'blobs', sha256(published['model.safetensors']));
  truncateSync(blob, 100);
  await fetchFromHub(reference, hub.options);
  assert.equal(sha256(readFileSync(blob)), sha256(published['model.safetensors']));
});

hubTest('transient failures are tried again; refusals are not, and say what to do', async (hub) => {
  let numFailures = 0;
  hub.intercept = (request, response) => {
    if (!isWeights(request) || numFailures >= 2) return false;
    numFailures++;
    response.writeHead(503).end();
    return true;
  };
  await fetchFromHub(reference, hub.options);
  const refusals: [RegExp, number, Record<string, string>][] = [
    [/org\/model: the hub has no such model \(404\)/, 404, {}],
    [/no such revision \(404\). Check what stands after @/, 404, { 'x-error-code': 'RevisionNotFound' }],
    [/the hub refuses access \(401\).*The token in HF_TOKEN has no access/, 401, {}],
    [/the model is gated \(403\). Accept its conditions/, 403, { 'x-error-code': 'GatedRepo' }],
  ];
  for (const [message, status, headers] of refusals) {
    const numAsked = hub.asked.length;
    hub.intercept = (_, response) => {
      response.writeHead(status, headers).end(`{"error":"${TOKEN}"}`);
      return true;
    };
    assert.match((await failure(hub)).message, message);
    assert.equal(hub.asked.length, numAsked + 1);
  }
});

hubTest('no network and nothing cached is said, and so is an answer that makes no sense', async (hub) => {
  hub.intercept = (_, response) => {
    response.end(`<html>${TOKEN}</html>`);
    return true;
  };
  assert.match((await failure(hub)).message, /the hub's answer makes no sense/);
  const offline = { settings: { ...hub.options.settings!, isOffline: true } };
  assert.match((await failure(hub, offline)).message, /org\/model: not \(completely\) in the cache .* HF_HUB_OFFLINE/);
  await hub.close();
  assert.match((await failure(hub)).message, /org\/model: 127.0.0.1:\d+ cannot be reached .* Check the network/);
});

hubTest('a user who stops the download is told that it continues', async (hub) => {
  const controller = new AbortController();
  hub.intercept = (request, response) => {
    if (!isWeights(request)) return false;
    response.writeHead(200, { 'content-length': published['model.safetensors'].length });
    response.write(published['model.safetensors'].subarray(0, 4096), () => setTimeout(() => controller.abort(), 20));
    return true;
  };
  assert.match(
    (await failure(hub, { signal: controller.signal })).message,
    /\(stopped\). Run the command again: it continues/,
  );
});

hubTest('names, hashes and sizes from the hub that could lead out of the cache are refused', async (hub) => {
  const good = listing(hub.files)[0] as Record<string, unknown>;
  for (const change of [
    { path: '../config.json' },
    { path: 'a/../../tokenizer.json' },
    { path: '..\\config.json' },
    { oid: '../../../escape', lfs: undefined },
    { lfs: { oid: '../escape', size: 5 } },
    { size: -1, lfs: undefined },
    { size: 1e300, lfs: undefined },
  ]) {
    hub.intercept = (request, response) => {
      if (!request.url!.includes('/tree/')) return false;
      sendJson(response, [...listing(hub.files), { ...good, path: 'config.json', ...change }]);
      return true;
    };
    assert.match(
      (await failure(hub)).message,
      /could lead out of the cache|Is HF_ENDPOINT a model hub/,
      JSON.stringify(change),
    );
  }
  hub.intercept = (request, response) => {
    if (!request.url!.includes('/revision/')) return false;
    sendJson(response, { _id: '1', id: 'org/model', sha: '../../escape' });
    return true;
  };
  assert.match((await failure(hub)).message, /Is HF_ENDPOINT a model hub/);
});

hubTest('a model larger than the free disk is refused before anything is fetched', async (hub) => {
  hub.intercept = (request, response) => {
    if (!request.url!.includes('/tree/')) return false;
    const large = {
      type: 'file',
      path: 'model.safetensors',
      size: 2 ** 52,
      lfs: { oid: 'a'.repeat(64), size: 2 ** 52 },
    };
    sendJson(response, [...listing({ 'config.json': published['config.json'] }), large]);
    return true;
  };
  assert.match(
    (await failure(hub)).message,
    /bytes are free, the model needs 4503599627\d+ more. Free space, or set HF_HOME/,
  );
  assert.ok(hub.asked.every(({ url }) => url.startsWith('/api/')));
});

hubTest('a repository without safetensors names its GGUF files, and one of them can be fetched', async (hub) => {
  const gguf = readFileSync(new URL('../../../test/parity/golden/files/tiny-llama.gguf', import.meta.url));
  hub.files = { 'tiny llama.Q4_0.gguf': gguf, 'README.md': Buffer.from('') };
  assert.match(
    (await failure(hub)).message,
    /has no config.json. Name one of its GGUF files: org\/model\/tiny llama.Q4_0.gguf/,
  );
  assert.match(
    (await failure(hub, {}, 'org/model/other.gguf')).message,
    /org\/model\/other.gguf: there is no such file. Name one/,
  );
  const checkpoint = await openCheckpoint('org/model/tiny llama.Q4_0.gguf', hub.options);
  assert.equal(checkpoint.kind, 'gguf');
  checkpoint.dispose();
});
