/**
 * Denoising diffusion implicit models: Song et al. 2020, equations 12 and 16, without noise unless η is given. Reference: diffusers 0.42.1,
 * scheduling_ddim.py.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { alphasCumprod, integerTimesteps } from '../noise-schedule.js';
import { convertAtLevel, levelOfAlpha, moveNoise, sigmasOfAlphas } from '../prediction.js';
import { readSamplerConfig, requireSteps, requireTrained, type SamplerConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

const className = 'DDIMScheduler';

/** Defaults are those of diffusers, so that a configuration must say itself that samples are not clipped. */
export function openDdim(reader: ConfigReader): Scheduler {
  reader.off('clip_sample', { standard: true });
  reader.off('thresholding');
  const config = readSamplerConfig(reader, { timestepSpacing: 'leading' });
  const alphas = alphasCumprod(config);
  const finalAlpha = reader.boolean('set_alpha_to_one', true) ? 1 : (alphas[0] ?? 1);
  const ddim: DdimConfig = { ...config, finalAlpha, eta: reader.share('eta', 0) };
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => ddimSchedule(ddim, alphas, steps) };
}

interface DdimConfig extends SamplerConfig {
  readonly finalAlpha: number;
  /** The share of DDPM's noise, 0 to 1. */
  readonly eta: number;
}

function ddimSchedule(config: DdimConfig, alphas: Float32Array, count: number): Schedule {
  const { numTrainTimesteps, predictionType, finalAlpha, eta } = config;
  requireSteps(count, numTrainTimesteps);
  const timesteps = integerTimesteps(config.timestepSpacing, count, numTrainTimesteps, config.stepsOffset);
  requireTrained(timesteps, config);
  const stride = Math.floor(numTrainTimesteps / count);
  const steps = Array.from(timesteps, (timestep): LinearStep => {
    const [here, there] = [alphas[timestep] ?? NaN, alphas[timestep - stride] ?? finalAlpha];
    const [from, to] = [levelOfAlpha(here), levelOfAlpha(there)];
    // σ of equation 16.
    const noise = eta * Math.sqrt(((1 - there) / (1 - here)) * (1 - here / there));
    const { anchor, image } = moveNoise(from, { signal: to.signal, noise: Math.sqrt(1 - there - noise ** 2) });
    return {
      inputScale: 1,
      converted: convertAtLevel(predictionType, from),
      anchor: sampleAsAnchor,
      next: { anchor, converted: [image, 0, 0, 0], noise },
    };
  });
  const levels = [...Array.from(timesteps, (timestep) => alphas[timestep] ?? NaN), finalAlpha];
  return { timesteps, sigmas: sigmasOfAlphas(levels), initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}
