/** Options of commands that use a proxy. */
import { z } from 'zod';
import type { OpenedModel } from '../jobs/open-model.js';
import { type OpenedProxy, openProxy } from '../jobs/open-proxy.js';
import { ESTIMATOR_KINDS } from '../methods/antidistillation/estimators.js';
import { TOKENIZER_MATCHES, type TokenizerMatch } from '../tokenizer/fingerprint.js';
import type { CommandContext } from './command.js';
import { openOptions } from './model-option.js';

export const proxyOptions = {
  proxy: z
    .string()
    .optional()
    .meta({ description: 'Proxy: a folder that azeotrope proxy wrote', placeholder: 'folder', whenAbsent: 'none' }),
  proxyModel: z.string().optional().meta({
    description: "The proxy's checkpoint",
    placeholder: 'model',
    whenAbsent: 'the one the proxy was made with',
  }),
  proxyTokenizer: z.enum(TOKENIZER_MATCHES).default('equal').meta({
    description:
      "How far the proxy's tokenizer must be the model's: equal, or but for special tokens, whose Δ is 0 where they differ",
  }),
  estimator: z.enum(ESTIMATOR_KINDS).default('jvp').meta({
    description:
      'How Δ is computed: jvp exactly; central or forward as a difference of two models moved along the gradient',
  }),
  epsilon: z.number().positive().optional().meta({
    description: 'Step of the difference, in units of the gradient',
    whenAbsent: "the proxy's own, chosen by measurement",
  }),
  lambda: z.number().default(0).meta({ description: 'Weight of Δ in the sampling distribution' }),
};

export const orderOption = z.enum(['paper', 'reference-code']).default('paper').meta({
  description:
    "paper: Δ is added after temperature and cuts; reference-code: before them, as the authors' program does",
});

/** The proxy that the options name, if any, for a teacher that is open. */
export async function openProxyOption(
  context: CommandContext,
  config: {
    proxy?: string | undefined;
    proxyModel?: string | undefined;
    proxyTokenizer: TokenizerMatch;
    threads?: number | undefined;
  },
  teacher: OpenedModel,
): Promise<OpenedProxy | undefined> {
  const { proxy, proxyModel, proxyTokenizer, threads } = config;
  if (proxy === undefined) return undefined;
  const { log } = context;
  return openProxy(proxy, teacher, { ...openOptions(context, { threads }), proxyModel, proxyTokenizer, log });
}
