/**
 * Timesteps and noise levels of the samplers that count in σ, one for each step asked for. Reference: diffusers 0.42.1, `set_timesteps` of
 * scheduling_euler_discrete.py, scheduling_lms_discrete.py, scheduling_heun_discrete.py and the two scheduling_k_dpm_2 files.
 */
import { exponentialSigmas, interpolate, karrasSigmas, roundHalfEven, spacedTimesteps, timestepOfSigma } from './noise-schedule.js';
import { requireSteps, type SamplerConfig, type SigmaSpacing } from './sampler-config.js';

export interface SigmaConfig extends SamplerConfig {
  readonly sigmaSpacing: SigmaSpacing | undefined;
}

export interface SigmaLevels {
  readonly timesteps: Float32Array;
  /** σ of each step, without the last one's target. */
  readonly levels: Float64Array;
}

/** Levels with a spacing of their own lie between the largest and the least of the timesteps'. `roundsKarras`: their timesteps are integers. */
export function sigmaLevels(
  { sigmaSpacing, timestepSpacing, numTrainTimesteps, stepsOffset }: SigmaConfig,
  training: Float32Array,
  count: number,
  { roundsKarras = false }: { readonly roundsKarras?: boolean } = {},
): SigmaLevels {
  requireSteps(count, numTrainTimesteps);
  const timesteps = spacedTimesteps(timestepSpacing, count, numTrainTimesteps, stepsOffset);
  const spaced = Float64Array.from(timesteps, (timestep) => interpolate(training, timestep));
  if (sigmaSpacing === undefined) return { timesteps, levels: spaced };
  const spread = sigmaSpacing === 'karras' ? karrasSigmas : exponentialSigmas;
  const whole = roundsKarras && sigmaSpacing === 'karras' ? roundHalfEven : (timestep: number): number => timestep;
  const levels = spread(spaced.at(-1) ?? 0, spaced[0] ?? 0, count);
  return { timesteps: Float32Array.from(levels, (sigma) => whole(timestepOfSigma(sigma, training))), levels };
}

/** Standard deviation of the first sample: diffusers leaves the image's own out where the first timestep is the last trained one. */
export function initialSigma(sigmas: Float32Array, { timestepSpacing }: SamplerConfig): number {
  const largest = sigmas.reduce((a, b) => Math.max(a, b), 0);
  return timestepSpacing === 'leading' ? standardDeviation(largest) : largest;
}

/** √(σ² + 1): the standard deviation of a sample at noise level σ, float32 after each operation. */
export function standardDeviation(sigma: number): number {
  const round = Math.fround;
  return round(Math.sqrt(round(round(sigma * sigma) + 1)));
}

/**
 * Down to a level below the next one, and as much new noise as leads back up to it. float32 after each operation: little is left of the last
 * difference where levels lie far apart, and what diffusers makes of it is where the model is asked.
 */
export function ancestralLevels(sigma: number, next: number): { readonly up: number; readonly down: number } {
  const round = Math.fround;
  const [here, there] = [round(sigma * sigma), round(next * next)];
  const up = round(Math.sqrt(round(round(there * round(here - there)) / here)));
  return { up, down: round(Math.sqrt(round(there - round(up * up)))) };
}
