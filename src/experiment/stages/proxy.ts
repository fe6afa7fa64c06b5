/** Holdout traces to the gradient of a proxy, with the study of ε. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkVocabulary, describeUnshared } from '../../jobs/open-proxy.js';
import { createProxy } from '../../methods/antidistillation/create-proxy.js';
import { writeProxy } from '../../methods/antidistillation/proxy.js';
import { sha256 } from '../../support/hash.js';
import { packageVersion } from '../../support/package-version.js';
import type { TrainingExample } from '../../training/batches.js';
import type { Stage, StageResults } from '../stage.js';
import { type StageContext, tokenizerOf } from './context.js';
import { readTraces } from './traces.js';

/** Errors: DataError for an empty holdout, and for a gradient that is zero or not finite. */
export async function runProxy(stage: Stage<'proxy'>, context: StageContext): Promise<StageResults['proxy']> {
  const { inputs, models, needs } = stage;
  const [proxy, teacher] = [await context.open(models.proxy), await context.open(models.teacher)];
  const unsharedIds = checkVocabulary(teacher, proxy, context.task);
  if (unsharedIds.length > 0) context.log(describeUnshared(unsharedIds));
  const rows = await readTraces(context.folderOf(needs.holdout));
  const examples = rows.map(
    ({ id, promptTokens, tokens }): TrainingExample => ({
      id,
      tokens: [...promptTokens, ...tokens],
      responseStart: promptTokens.length,
    }),
  );
  const artefact = await createProxy(proxy.model, examples, {
    provenance: {
      model: proxy.checkpoint.location,
      revision: proxy.checkpoint.revision ?? null,
      holdout: {
        file: join('..', needs.holdout, 'traces.jsonl'),
        sha256: sha256(await readFile(join(context.folderOf(needs.holdout), 'traces.jsonl'))),
        numRows: rows.length,
        chat: 'auto',
      },
      tokenizerFingerprint: tokenizerOf(proxy).fingerprint,
      packageVersion: packageVersion(),
    },
    microBatchTokens: inputs.microBatchTokens,
    signal: context.signal,
    onProgress: (done, total) => context.onProgress(done / total),
  });
  await writeProxy(context.folder, proxy.model.config, artefact);
  const { lossNats, responseTokens, gradientNorm, epsilon, epsilonStudy } = artefact;
  return { lossNats, responseTokens, gradientNorm, epsilon, epsilonStudy };
}
