/**
 * Ancestral sampling with Euler steps: down to a level below the next one, then back up with new noise. Reference: diffusers 0.42.1,
 * scheduling_euler_ancestral_discrete.py; k-diffusion's `sample_euler_ancestral`.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { interpolate, spacedTimesteps, trainingSigmas } from '../noise-schedule.js';
import { convertAtSigma } from '../prediction.js';
import { readSamplerConfig, requireSteps, type SamplerConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';
import { ancestralLevels, initialSigma, standardDeviation } from '../sigma-levels.js';

const className = 'EulerAncestralDiscreteScheduler';

/** Defaults are those of diffusers, which does not know the prediction type `sample` here. */
export function openEulerAncestralDiscrete(reader: ConfigReader): Scheduler {
  const config = readSamplerConfig(reader, { timestepSpacing: 'linspace', predictionTypes: ['epsilon', 'v_prediction'] });
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => ancestralSchedule(config, training, steps) };
}

function ancestralSchedule(config: SamplerConfig, training: Float32Array, count: number): Schedule {
  requireSteps(count, config.numTrainTimesteps);
  const timesteps = spacedTimesteps(config.timestepSpacing, count, config.numTrainTimesteps, config.stepsOffset);
  const sigmas = Float32Array.from([...Array.from(timesteps, (timestep) => interpolate(training, timestep)), 0]);
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const [sigma = 0, next = 0] = sigmas.subarray(index);
    const { up, down } = ancestralLevels(sigma, next);
    const kept = down / sigma;
    return {
      inputScale: 1 / standardDeviation(sigma),
      converted: convertAtSigma(config.predictionType, sigma),
      anchor: sampleAsAnchor,
      // The last step adds no noise; what diffusers draws there is multiplied by 0 and the last of its generator's stream.
      next: { anchor: kept, converted: [1 - kept, 0, 0, 0], noise: up },
    };
  });
  return { timesteps, sigmas, initNoiseSigma: initialSigma(sigmas, config), steps: finiteSteps(className, steps) };
}
