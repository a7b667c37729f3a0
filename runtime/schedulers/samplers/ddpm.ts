/**
 * Ancestral sampling with the posterior of the training process: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", equation 7.
 * Reference: diffusers 0.42.1, scheduling_ddpm.py.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { alphasCumprod, integerTimesteps } from '../noise-schedule.js';
import { convertAtLevel, levelOfAlpha, sigmasOfAlphas } from '../prediction.js';
import { readSamplerConfig, requireSteps, requireTrained, type SamplerConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface DdpmConfig extends SamplerConfig {
  /** Whether the noise is that of the training step (an upper bound) instead of the posterior's (a lower one). */
  readonly largeVariance: boolean;
}

const className = 'DDPMScheduler';

/** Defaults are those of diffusers, so that a configuration must say itself that samples are not clipped. */
export function openDdpm(reader: ConfigReader): Scheduler {
  reader.off('clip_sample', { standard: true });
  reader.off('thresholding');
  // The logarithm of the small variance is taken and undone.
  const variance = reader.oneOf('variance_type', ['fixed_small', 'fixed_small_log', 'fixed_large'], 'fixed_small');
  const config: DdpmConfig = { ...readSamplerConfig(reader, { timestepSpacing: 'leading' }), largeVariance: variance === 'fixed_large' };
  const alphas = alphasCumprod(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => ddpmSchedule(config, alphas, steps) };
}

function ddpmSchedule(config: DdpmConfig, alphas: Float32Array, count: number): Schedule {
  const { numTrainTimesteps, predictionType } = config;
  requireSteps(count, numTrainTimesteps);
  const timesteps = integerTimesteps(config.timestepSpacing, count, numTrainTimesteps, config.stepsOffset);
  requireTrained(timesteps, config);
  const levels = [...Array.from(timesteps, (timestep) => alphas[timestep] ?? NaN), 1];
  const steps = Array.from(timesteps, (timestep, index): LinearStep => {
    const [from = NaN, to = NaN] = levels.slice(index);
    const beta = 1 - from / to;
    const variance = config.largeVariance ? beta : Math.max(((1 - to) / (1 - from)) * beta, 1e-20);
    return {
      inputScale: 1,
      converted: convertAtLevel(predictionType, levelOfAlpha(from)),
      anchor: sampleAsAnchor,
      next: {
        anchor: (Math.sqrt(from / to) * (1 - to)) / (1 - from),
        converted: [(Math.sqrt(to) * beta) / (1 - from), 0, 0, 0],
        noise: timestep > 0 ? Math.sqrt(variance) : 0,
      },
    };
  });
  return { timesteps, sigmas: sigmasOfAlphas(levels), initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}
