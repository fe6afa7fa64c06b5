/** Angles of the rotary embedding. */
import type { TransformerConfig } from './config.js';

/** Frequencies in radians per position, one for each of the D/2 pairs: theta^(−2i/D), scaled as the configuration says. */
export function rotaryFrequencies(config: TransformerConfig): Float64Array {
  const { headSize, ropeTheta, ropeScaling } = config;
  return Float64Array.from({ length: headSize / 2 }, (_, pair) => {
    const base = ropeTheta ** ((-2 * pair) / headSize);
    if (ropeScaling.kind === 'none') return base;
    if (ropeScaling.kind === 'linear') return base / ropeScaling.factor;
    // llama3: wavelengths above `longest` are stretched, below `shortest` kept, between them blended smoothly.
    const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } = ropeScaling;
    const wavelength = (2 * Math.PI) / base;
    const longest = originalMaxPositions / lowFrequencyFactor;
    const shortest = originalMaxPositions / highFrequencyFactor;
    if (wavelength < shortest) return base;
    if (wavelength > longest) return base / factor;
    const smooth =
      (originalMaxPositions / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
    return (1 - smooth) * (base / factor) + smooth * base;
  });
}

/** cos and sin [numPositions, D/2] of position · frequency, computed in float64. */
export function rotaryTables(
  config: TransformerConfig,
  numPositions: number,
): { cos: Float32Array; sin: Float32Array } {
  const frequencies = rotaryFrequencies(config);
  const half = frequencies.length;
  const cos = new Float32Array(numPositions * half);
  const sin = new Float32Array(numPositions * half);
  for (let position = 0; position < numPositions; position++) {
    for (let pair = 0; pair < half; pair++) {
      const angle = position * frequencies[pair];
      cos[position * half + pair] = Math.cos(angle);
      sin[position * half + pair] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
