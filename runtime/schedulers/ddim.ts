/**
 * Denoising diffusion implicit models with η = 0: Song et al. 2020, equation 12. Reference: diffusers 0.42.1, scheduling_ddim.py.
 */
import type { ConfigReader } from './config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from './linear-step.js';
import { alphasCumprod, integerTimesteps } from './noise-schedule.js';
import { convertAtLevel, levelOfAlpha } from './prediction.js';
import { readSamplerConfig, requireSteps, requireTrained, type SamplerConfig } from './sampler-config.js';
import type { Schedule, Scheduler } from './scheduler.js';

const className = 'DDIMScheduler';

/** Defaults are those of diffusers, so that a configuration must say itself that samples are not clipped. */
export function openDdim(reader: ConfigReader): Scheduler {
  reader.off('clip_sample', { standard: true });
  reader.off('thresholding');
  const config = readSamplerConfig(reader, { timestepSpacing: 'leading' });
  const alphas = alphasCumprod(config);
  const finalAlpha = reader.boolean('set_alpha_to_one', true) ? 1 : (alphas[0] ?? 1);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => ddimSchedule(config, alphas, finalAlpha, steps) };
}

function ddimSchedule(config: SamplerConfig, alphas: Float32Array, finalAlpha: number, count: number): Schedule {
  const { numTrainTimesteps, predictionType } = config;
  requireSteps(count, numTrainTimesteps);
  const timesteps = integerTimesteps(config.timestepSpacing, count, numTrainTimesteps, config.stepsOffset);
  requireTrained(timesteps, config);
  const stride = Math.floor(numTrainTimesteps / count);
  const steps = Array.from(timesteps, (timestep): LinearStep => {
    const from = levelOfAlpha(alphas[timestep] ?? NaN);
    const to = levelOfAlpha(alphas[timestep - stride] ?? finalAlpha);
    // The noise is what remains of x beside the image: (x − signal·m0) / noise.
    const kept = to.noise / from.noise;
    return {
      inputScale: 1,
      converted: convertAtLevel(predictionType, from),
      anchor: sampleAsAnchor,
      next: { anchor: kept, converted: [to.signal - kept * from.signal, 0, 0, 0], noise: 0 },
    };
  });
  const levels = [...Array.from(timesteps, (timestep) => alphas[timestep] ?? NaN), finalAlpha];
  return { timesteps, sigmas: sigmasOfAlphas(levels), initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}

/** σ = √((1 − ᾱ)/ᾱ) of each ᾱ. */
export function sigmasOfAlphas(alphas: readonly number[]): Float32Array {
  return Float32Array.from(alphas, (alpha) => {
    const { signal, noise } = levelOfAlpha(alpha);
    return noise / signal;
  });
}
