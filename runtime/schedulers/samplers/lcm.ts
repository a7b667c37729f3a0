/**
 * Latent consistency models: each step jumps to the image and noises it again. Luo et al. 2023, algorithm 3. Reference: diffusers
 * 0.42.1, scheduling_lcm.py, which reads but does not use `timestep_spacing`, `steps_offset` and `set_alpha_to_one`.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { alphasCumprod } from '../noise-schedule.js';
import { convertAtLevel, levelOfAlpha } from '../prediction.js';
import { distilledTimesteps, readSamplerConfig, type SamplerConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface LcmConfig extends SamplerConfig {
  /** Length of the grid the model was distilled on, from which the steps are picked. */
  readonly originalInferenceSteps: number;
  readonly timestepScaling: number;
}

const className = 'LCMScheduler';
/** The data's standard deviation in the boundary conditions. */
const sigmaData = 0.5;

export function openLcm(reader: ConfigReader): Scheduler {
  for (const key of ['clip_sample', 'thresholding']) reader.off(key);
  const betas = { betaStart: 0.00085, betaEnd: 0.012, betaSchedule: 'scaled_linear' } as const;
  const sampler = readSamplerConfig(reader, { timestepSpacing: 'leading', betas });
  const { numTrainTimesteps } = sampler;
  const config: LcmConfig = {
    ...sampler,
    originalInferenceSteps: reader.integer('original_inference_steps', { least: 1, most: numTrainTimesteps }, 50),
    timestepScaling: reader.positive('timestep_scaling', 10),
  };
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
  const sigmas = Float32Array.from([...timesteps, undefined], (timestep) => {
    const { signal, noise } = levelOfAlpha(timestep === undefined ? 1 : (alphas[timestep] ?? NaN));
    return noise / signal;
  });
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}
