/**
 * Latent consistency models: each step jumps to the image and noises it again. Luo et al. 2023, algorithm 3. Reference: diffusers
 * 0.42.1, scheduling_lcm.py, which reads but does not use `timestep_spacing`, `steps_offset` and `set_alpha_to_one`.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { alphasCumprod } from '../noise-schedule.js';
import { convertAtLevel, levelOfAlpha, sigmasOfAlphas } from '../prediction.js';
import { distilledTimesteps, readDistilledConfig, type DistilledConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface LcmConfig extends DistilledConfig {
  readonly timestepScaling: number;
}

const className = 'LCMScheduler';
/** The data's standard deviation in the boundary conditions. */
const sigmaData = 0.5;

export function openLcm(reader: ConfigReader): Scheduler {
  const config: LcmConfig = { ...readDistilledConfig(reader), timestepScaling: reader.positive('timestep_scaling', 10) };
  const { numTrainTimesteps } = config;
  const alphas = alphasCumprod(config);
  return { className, numTrainTimesteps, setTimesteps: (steps) => lcmSchedule(config, alphas, steps) };
}

function lcmSchedule(config: LcmConfig, alphas: Float32Array, count: number): Schedule {
  const { originalInferenceSteps: original, numTrainTimesteps, predictionType, timestepScaling } = config;
  const timesteps = distilledTimesteps(numTrainTimesteps, original, count);
  const steps = Array.from(timesteps, (timestep, index): LinearStep => {
    const from = levelOfAlpha(alphas[timestep] ?? NaN);
    const scaled = timestep * timestepScaling;
    const skip = sigmaData ** 2 / (scaled ** 2 + sigmaData ** 2);
    const out = scaled / Math.sqrt(scaled ** 2 + sigmaData ** 2);
    const next = timesteps[index + 1];
    const to = next === undefined ? { signal: 1, noise: 0 } : levelOfAlpha(alphas[next] ?? NaN);
    return {
      inputScale: 1,
      converted: convertAtLevel(predictionType, from),
      anchor: sampleAsAnchor,
      next: { anchor: to.signal * skip, converted: [to.signal * out, 0, 0, 0], noise: to.noise },
    };
  });
  const sigmas = sigmasOfAlphas([...Array.from(timesteps, (timestep) => alphas[timestep] ?? NaN), 1]);
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}
