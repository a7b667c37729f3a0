/** How a model's output stands for the image it sees: m0 = sample · x + output · e, the first half of a {@link LinearStep}. */
import type { LinearStep } from './linear-step.js';

export const predictionTypes = ['epsilon', 'v_prediction', 'sample'] as const;
export type PredictionType = (typeof predictionTypes)[number];

/** For x = image + σ·noise, the samples of Karras et al. 2022. v is the velocity of Salimans and Ho 2022, appendix D. */
export function convertAtSigma(type: PredictionType, sigma: number): LinearStep['converted'] {
  switch (type) {
    case 'epsilon':
      return { sample: 1, output: -sigma };
    case 'v_prediction':
      return { sample: 1 / (sigma ** 2 + 1), output: -sigma / Math.sqrt(sigma ** 2 + 1) };
    case 'sample':
      return { sample: 0, output: 1 };
    default:
      return type satisfies never;
  }
}

/** For x = signal·image + noise·z, the variance-preserving samples of DDPM; signal² + noise² = 1. */
export function convertAtLevel(type: PredictionType, { signal, noise }: NoiseLevel): LinearStep['converted'] {
  switch (type) {
    case 'epsilon':
      return { sample: 1 / signal, output: -noise / signal };
    case 'v_prediction':
      return { sample: signal, output: -noise };
    case 'sample':
      return { sample: 0, output: 1 };
    default:
      return type satisfies never;
  }
}

/** The noise in x instead of the image, (x − image) / σ: the derivative of x by σ. */
export function convertToNoiseAtSigma(type: PredictionType, sigma: number): LinearStep['converted'] {
  const image = convertAtSigma(type, sigma);
  return { sample: (1 - image.sample) / sigma, output: -image.output / sigma };
}

/** The same for x = signal·image + noise·z: z. */
export function convertToNoiseAtLevel(type: PredictionType, level: NoiseLevel): LinearStep['converted'] {
  const image = convertAtLevel(type, level);
  return { sample: (1 - level.signal * image.sample) / level.noise, output: (-level.signal * image.output) / level.noise };
}

/** x = signal·image + noise·z between two levels: the image at the one, with as much of x's own noise as the other has. */
export function moveNoise(from: NoiseLevel, to: NoiseLevel): { readonly anchor: number; readonly image: number } {
  // The noise is what remains of x beside the image: (x − signal·m0) / noise.
  const anchor = to.noise / from.noise;
  return { anchor, image: to.signal - anchor * from.signal };
}

/** √ᾱ and √(1 − ᾱ). */
export interface NoiseLevel {
  readonly signal: number;
  readonly noise: number;
}

export function levelOfAlpha(alphaCumprod: number): NoiseLevel {
  return { signal: Math.sqrt(alphaCumprod), noise: Math.sqrt(1 - alphaCumprod) };
}

export function levelOfSigma(sigma: number): NoiseLevel {
  const signal = 1 / Math.sqrt(sigma ** 2 + 1);
  return { signal, noise: sigma * signal };
}

/** σ = √((1 − ᾱ)/ᾱ) of each ᾱ. */
export function sigmasOfAlphas(alphas: readonly number[]): Float32Array {
  return Float32Array.from(alphas, (alpha) => {
    const { signal, noise } = levelOfAlpha(alpha);
    return noise / signal;
  });
}
