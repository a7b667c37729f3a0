/**
 * The deterministic Euler sampler: algorithm 1 of Karras et al. 2022 ("Elucidating the Design Space of Diffusion-Based Generative
 * Models") without second-order correction and without churn. Reference: diffusers 0.42.1, scheduling_euler_discrete.py.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { trainingSigmas } from '../noise-schedule.js';
import { convertAtSigma } from '../prediction.js';
import { finalSigmas, readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';
import { initialSigma, sigmaLevels, standardDeviation, type SigmaConfig } from '../sigma-levels.js';

interface EulerDiscreteConfig extends SigmaConfig {
  readonly finalSigmasType: (typeof finalSigmas)[number];
}

const className = 'EulerDiscreteScheduler';

/** Defaults are those of diffusers. What is not implemented is refused by name, never ignored. */
export function openEulerDiscrete(reader: ConfigReader): Scheduler {
  reader.oneOf('interpolation_type', ['linear'], 'linear');
  reader.oneOf('timestep_type', ['discrete'], 'discrete');
  for (const key of ['sigma_min', 'sigma_max']) reader.absent(key);
  const config: EulerDiscreteConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace' }),
    sigmaSpacing: readSigmaSpacing(reader),
    finalSigmasType: reader.oneOf('final_sigmas_type', finalSigmas, 'zero'),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => eulerSchedule(config, training, steps) };
}

function eulerSchedule(config: EulerDiscreteConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, levels } = sigmaLevels(config, training, count);
  const last = config.finalSigmasType === 'sigma_min' ? (training[0] ?? 0) : 0;
  const sigmas = Float32Array.from([...levels, last]);
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const [sigma = 0, next = 0] = sigmas.subarray(index);
    const kept = next / sigma;
    return {
      inputScale: 1 / standardDeviation(sigma),
      converted: convertAtSigma(config.predictionType, sigma),
      anchor: sampleAsAnchor,
      next: { anchor: kept, converted: [1 - kept, 0, 0, 0], noise: 0 },
    };
  });
  const initNoiseSigma = initialSigma(sigmas, config);
  return { timesteps, sigmas, initNoiseSigma, steps: finiteSteps(className, steps) };
}
