/** Timesteps and noise levels of the multistep samplers, DPM-Solver and UniPC. Reference: diffusers 0.42.1, their `set_timesteps`. */
import { exponentialSigmas, karrasSigmas, interpolate, multistepTimesteps, roundHalfEven, timestepOfSigma } from './noise-schedule.js';
import { requireSteps, type SamplerConfig, type SigmaSpacing } from './sampler-config.js';

export interface MultistepConfig extends SamplerConfig {
  readonly sigmaSpacing: SigmaSpacing | undefined;
  readonly finalSigmasType: 'zero' | 'sigma_min';
}

/**
 * Levels with a spacing of their own span the whole training schedule whatever that of the timesteps; the timesteps of Karras' are rounded, those
 * of exponential ones cut off. Where the last level is not zero it is the least of training; UniPC repeats their own last one (`repeatsLast`).
 */
export function multistepLevels(
  config: MultistepConfig,
  training: Float32Array,
  count: number,
  { repeatsLast }: { readonly repeatsLast: boolean },
): { readonly timesteps: Float32Array; readonly sigmas: Float32Array } {
  const { numTrainTimesteps, timestepSpacing, stepsOffset, sigmaSpacing, finalSigmasType } = config;
  requireSteps(count, numTrainTimesteps);
  const least = training[0] ?? 0;
  const last = finalSigmasType === 'zero' ? 0 : least;
  if (sigmaSpacing !== undefined) {
    const [spread, whole] = sigmaSpacing === 'karras' ? [karrasSigmas, roundHalfEven] : [exponentialSigmas, Math.trunc];
    const levels = spread(least, training.at(-1) ?? 0, count);
    const timesteps = Float32Array.from(levels, (sigma) => whole(timestepOfSigma(sigma, training)));
    return { timesteps, sigmas: Float32Array.from([...levels, repeatsLast && last > 0 ? (levels.at(-1) ?? 0) : last]) };
  }
  const timesteps = multistepTimesteps(timestepSpacing, count, numTrainTimesteps, stepsOffset);
  const levels = Array.from(timesteps, (timestep) => interpolate(training, timestep));
  return { timesteps, sigmas: Float32Array.from([...levels, last]) };
}
