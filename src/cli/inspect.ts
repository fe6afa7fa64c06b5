import { type Inspection, inspectModel } from '../jobs/inspect.js';
import { commandOptions, defineCommand } from './command.js';
import { formatBytes, formatCount } from './format.js';
import { downloadProgress, modelOption } from './model-option.js';

export const inspect = defineCommand({
  description: 'Shows what a checkpoint is: family, shapes, parameters, tokenizer, and the memory it needs.',
  arguments: ['model'],
  options: commandOptions({ model: modelOption }),
  examples: ['azeotrope inspect model.gguf', 'azeotrope inspect HuggingFaceTB/SmolLM2-135M-Instruct --json'],
  run: async (context, { model, json }) => {
    const inspection = await inspectModel(model, { signal: context.signal, onProgress: downloadProgress(context) });
    for (const warning of inspection.warnings) context.log(`Note: ${warning}`);
    if (!json) context.write(describe(inspection));
    return inspection;
  },
});

/** What sampling and scoring keep in memory instead of float32 weights. */
const blockRows = (bytes: number): [string, string][] =>
  bytes === 0
    ? []
    : [['in blocks', `${formatBytes(bytes)}, computed on as they are where \`azeotrope doctor\` says so`]];

function describe({ config, tokenizer, memory, ...model }: Inspection): string {
  const { numHeads, numKvHeads, headSize, ropeScaling } = config;
  const biases = [config.qkvBias && 'q k v', config.outputBias && 'attention output', config.mlpBias && 'MLP'].filter(
    Boolean,
  );
  const scaling = ropeScaling.kind === 'none' ? '' : `, ${ropeScaling.kind} scaling by ${ropeScaling.factor}`;
  const rows: [string, string][] = [
    ['model', model.location + (model.revision === null ? '' : ` (revision ${model.revision})`)],
    ['family', config.family],
    ['parameters', `${formatCount(model.numParameters)}${config.tiedHead ? ', head tied to the embedding' : ''}`],
    ['stored as', `${model.dtype} ${model.kind}, ${formatBytes(model.fileBytes)}`],
    ...blockRows(model.blockBytes),
    ['layers', `${config.numLayers} of width ${config.hiddenSize}, MLP ${config.intermediateSize}`],
    [
      'attention',
      `${numHeads} heads on ${numKvHeads} key/value heads of ${headSize}${config.qkNorm ? ', q/k norm' : ''}`,
    ],
    ['biases', biases.length > 0 ? biases.join(', ') : 'none'],
    ['positions', `${config.maxPositions} tokens, rotary base ${config.ropeTheta}${scaling}`],
    ['vocabulary', `${config.vocabSize} rows${tokenizer === null ? '' : `, ${tokenizer.numTokens} tokens`}`],
  ];
  if (tokenizer === null) rows.push(['tokenizer', 'none: give rows of token ids']);
  else {
    rows.push(['ends with', tokenizer.eosTokens.join(' ') || 'nothing']);
    rows.push([
      'chat template',
      tokenizer.chatTemplate === null ? 'none' : `${tokenizer.chatTemplate.length} characters`,
    ]);
  }
  rows.push(
    [
      'memory to run',
      `${formatBytes(memory.runBytes)} in float32; 32 sequences ${formatBytes(memory.runBatch32Bytes)}`,
    ],
    [
      'memory to train',
      `${formatBytes(memory.trainBytes)}; with LoRA ${formatBytes(memory.trainLoraBytes)} (batch 4 × 256)`,
    ],
  );
  return `${rows.map(([name, value]) => `${name.padEnd(16)}${value}`).join('\n')}\n`;
}
