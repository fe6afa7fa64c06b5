/** The network that tells the teacher's responses from the student's, as the configuration describes it. */
import type { OpenedModel } from '../../jobs/open-model.js';
import type { GadConfig } from '../../methods/gad/config.js';
import { createConvolutionalDiscriminator } from '../../methods/gad/convolutional.js';
import { createTransformerDiscriminator, type Discriminator } from '../../methods/gad/discriminator.js';
import type { TransformerConfig } from '../../model/config.js';
import type { LanguageModel } from '../../model/language-model.js';
import { ConfigError } from '../../support/errors.js';
import { createRandom, deriveSeed } from '../../support/random.js';

/** Errors: ConfigError where another model is to be copied and none is named, or one that does not know the student's tokens. */
export async function makeDiscriminator(
  student: LanguageModel,
  config: GadConfig['discriminator'],
  { seed, openModel }: { seed: number; openModel: (location: string) => Promise<OpenedModel> },
): Promise<Discriminator> {
  const { compiler } = student;
  const random = createRandom(deriveSeed(seed, 'discriminator'));
  const { kind, readout, model: location } = config;
  if (kind === 'student')
    return createTransformerDiscriminator(compiler, { config: student.config, from: student, readout, random });
  if (kind === 'convolutional') {
    const { vocabSize, maxPositions } = student.config;
    return createConvolutionalDiscriminator(compiler, {
      ...{ vocabSize, width: config.convolutionWidth, maxLength: maxPositions, random },
    });
  }
  if (kind === 'model') {
    if (location === undefined) throw new ConfigError('gad.discriminator.kind model needs gad.discriminator.model.');
    const opened = await openModel(location);
    try {
      const { config: other } = opened.model;
      if (other.vocabSize < student.config.vocabSize)
        throw new ConfigError(
          `${location}: a discriminator must know the student's tokens; it has ${other.vocabSize} of ${student.config.vocabSize}.`,
        );
      return createTransformerDiscriminator(compiler, { config: other, from: opened.model, readout, random });
    } finally {
      opened.dispose();
    }
  }
  return createTransformerDiscriminator(compiler, { config: resized(student.config, config), readout, random });
}

/** The student's architecture with other numbers of layers and widths. */
function resized(
  base: TransformerConfig,
  { layersMultiple, widthMultiple }: GadConfig['discriminator'],
): TransformerConfig {
  const scaled = (value: number, multiple: number) => Math.max(1, Math.round(value * multiple));
  const numKvHeads = scaled(base.numKvHeads, widthMultiple);
  return {
    ...base,
    numLayers: scaled(base.numLayers, layersMultiple),
    numKvHeads,
    // As many query heads to each as the student has, so that the grouping stays whole.
    numHeads: numKvHeads * Math.round(base.numHeads / base.numKvHeads),
    hiddenSize: scaled(base.hiddenSize, widthMultiple),
    intermediateSize: scaled(base.intermediateSize, widthMultiple),
  };
}
