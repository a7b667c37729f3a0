/**
 * Trajectory consistency distillation: each step goes below the next level, by a share that η says, and is noised up to it. Zheng et al. 2024, "Trajectory
 * Consistency Distillation", algorithm 4, where η is γ. Reference: diffusers 0.42.1, scheduling_tcd.py, which reads but does not use
 * `timestep_spacing`, `steps_offset` and `timestep_scaling`; its pipeline's η is 0 unless given.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type LinearStep } from '../linear-step.js';
import { alphasCumprod } from '../noise-schedule.js';
import { convertAtLevel, levelOfAlpha, moveNoise, sigmasOfAlphas } from '../prediction.js';
import { distilledTimesteps, readDistilledConfig, type DistilledConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface TcdConfig extends DistilledConfig {
  /** 0: no noise is added; 1: each step goes to the least level and up again. */
  readonly eta: number;
}

const className = 'TCDScheduler';

export function openTcd(reader: ConfigReader): Scheduler {
  const config: TcdConfig = { ...readDistilledConfig(reader), eta: reader.share('eta', 0) };
  const { numTrainTimesteps } = config;
  const alphas = alphasCumprod(config);
  return { className, numTrainTimesteps, setTimesteps: (steps) => tcdSchedule(config, alphas, steps) };
}

function tcdSchedule(
  { numTrainTimesteps, originalInferenceSteps, predictionType, eta }: TcdConfig,
  alphas: Float32Array,
  count: number,
): Schedule {
  const timesteps = distilledTimesteps(numTrainTimesteps, originalInferenceSteps, count);
  const alphaAt = (timestep: number): number => alphas[timestep] ?? NaN;
  const steps = Array.from(timesteps, (timestep, index): LinearStep => {
    const next = timesteps[index + 1];
    const target = alphaAt(next ?? 0);
    // float32, as torch multiplies.
    const below = alphaAt(Math.floor(Math.fround(Math.fround(1 - eta) * (next ?? 0))));
    const from = levelOfAlpha(alphaAt(timestep));
    const { anchor, image } = moveNoise(from, levelOfAlpha(below));
    const kept = next === undefined ? 1 : Math.sqrt(target / below);
    return {
      inputScale: 1,
      converted: convertAtLevel(predictionType, from),
      anchor: sampleAsAnchor,
      next: { anchor: kept * anchor, converted: [kept * image, 0, 0, 0], noise: Math.sqrt(1 - kept ** 2) },
    };
  });
  const sigmas = sigmasOfAlphas([...timesteps, 0].map(alphaAt));
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}
