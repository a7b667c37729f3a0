/**
 * The deterministic Euler sampler: algorithm 1 of Karras et al. 2022 ("Elucidating the Design Space of Diffusion-Based Generative
 * Models") without second-order correction and without churn. Reference: diffusers 0.42.1, scheduling_euler_discrete.py.
 */
import { SdxlError } from '../errors/index.js';
import {
  betaSchedules,
  interpolate,
  karrasSigmas,
  spacedTimesteps,
  timestepOfSigma,
  timestepSpacings,
  trainingSigmas,
  type BetaSchedule,
  type TimestepSpacing,
} from './noise-schedule.js';
import type { Schedule, Scheduler, ScheduleRun } from './scheduler.js';
import type { ConfigReader } from './config-reader.js';

const finalSigmas = ['zero', 'sigma_min'] as const;

export interface EulerDiscreteConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: BetaSchedule;
  readonly timestepSpacing: TimestepSpacing;
  readonly stepsOffset: number;
  readonly useKarrasSigmas: boolean;
  readonly finalSigmasType: (typeof finalSigmas)[number];
}

/** Defaults are those of diffusers. What is not implemented is refused by name, never ignored. */
export function readEulerDiscreteConfig(reader: ConfigReader): EulerDiscreteConfig {
  reader.oneOf('prediction_type', ['epsilon'], 'epsilon');
  reader.oneOf('interpolation_type', ['linear'], 'linear');
  reader.oneOf('timestep_type', ['discrete'], 'discrete');
  for (const key of ['trained_betas', 'sigma_min', 'sigma_max']) reader.absent(key);
  for (const key of ['use_exponential_sigmas', 'use_beta_sigmas', 'rescale_betas_zero_snr']) reader.off(key);
  return {
    numTrainTimesteps: reader.integer('num_train_timesteps', { least: 2, most: 100_000 }, 1000),
    betaStart: reader.fraction('beta_start', 0.0001),
    betaEnd: reader.fraction('beta_end', 0.02),
    betaSchedule: reader.oneOf('beta_schedule', betaSchedules, 'linear'),
    timestepSpacing: reader.oneOf('timestep_spacing', timestepSpacings, 'linspace'),
    stepsOffset: reader.integer('steps_offset', { least: 0, most: 1000 }, 0),
    useKarrasSigmas: reader.boolean('use_karras_sigmas', false),
    finalSigmasType: reader.oneOf('final_sigmas_type', finalSigmas, 'zero'),
  };
}

const round = Math.fround;

export class EulerDiscreteScheduler implements Scheduler {
  readonly className = 'EulerDiscreteScheduler';
  readonly numTrainTimesteps: number;
  readonly #config: EulerDiscreteConfig;
  /** [numTrainTimesteps], rising. */
  readonly #trainingSigmas: Float32Array;

  constructor(config: EulerDiscreteConfig) {
    this.numTrainTimesteps = config.numTrainTimesteps;
    this.#config = config;
    this.#trainingSigmas = trainingSigmas(config);
  }

  setTimesteps(numInferenceSteps: number): Schedule {
    const most = this.numTrainTimesteps;
    if (!Number.isInteger(numInferenceSteps) || numInferenceSteps < 1 || numInferenceSteps > most) {
      throw new SdxlError('JOB_INVALID', `numInferenceSteps ${String(numInferenceSteps)}: expected an integer from 1 to ${String(most)}`, {
        fields: { field: 'numInferenceSteps', value: numInferenceSteps, most },
      });
    }
    const { timestepSpacing, stepsOffset, useKarrasSigmas, finalSigmasType } = this.#config;
    const spaced = spacedTimesteps(timestepSpacing, numInferenceSteps, most, stepsOffset);
    let levels: Float64Array = Float64Array.from(spaced, (timestep) => interpolate(this.#trainingSigmas, timestep));
    let timesteps = spaced;
    if (useKarrasSigmas) {
      levels = karrasSigmas(levels.at(-1) ?? 0, levels[0] ?? 0, numInferenceSteps);
      timesteps = Float32Array.from(levels, (sigma) => timestepOfSigma(sigma, this.#trainingSigmas));
    }
    const last = finalSigmasType === 'sigma_min' ? (this.#trainingSigmas[0] ?? 0) : 0;
    const sigmas = Float32Array.from([...levels, last]);
    const largest = sigmas.reduce((a, b) => Math.max(a, b), 0);
    const initNoiseSigma = timestepSpacing === 'leading' ? inputDivisor(largest) : largest;
    const run = new EulerRun(sigmas);
    return { timesteps, sigmas, initNoiseSigma, begin: () => run };
  }
}

/** √(σ² + 1): the standard deviation of a sample at noise level σ, float32 after each operation. */
function inputDivisor(sigma: number): number {
  return round(Math.sqrt(round(round(sigma * sigma) + 1)));
}

/** Euler needs nothing of earlier steps: all images share one. */
class EulerRun implements ScheduleRun {
  readonly #sigmas: Float32Array;

  constructor(sigmas: Float32Array) {
    this.#sigmas = sigmas;
  }

  scaleModelInput(sample: Float32Array, index: number, into = new Float32Array(sample.length)): Float32Array {
    requireLength('into', into, sample.length);
    const divisor = inputDivisor(this.#sigma(index));
    for (let at = 0; at < sample.length; at++) into[at] = (sample[at] ?? 0) / divisor;
    return into;
  }

  step(modelOutput: Float32Array, index: number, sample: Float32Array, into = new Float32Array(sample.length)): Float32Array {
    requireLength('modelOutput', modelOutput, sample.length);
    requireLength('into', into, sample.length);
    const sigma = this.#sigma(index);
    const width = round((this.#sigmas[index + 1] ?? 0) - sigma);
    for (let at = 0; at < sample.length; at++) {
      const value = sample[at] ?? 0;
      const denoised = round(value - round(sigma * (modelOutput[at] ?? 0)));
      const derivative = round(round(value - denoised) / sigma);
      into[at] = value + round(derivative * width);
    }
    return into;
  }

  #sigma(index: number): number {
    const sigma = index + 1 < this.#sigmas.length ? this.#sigmas[index] : undefined;
    if (sigma === undefined) throw new RangeError(`step ${String(index)} of ${String(this.#sigmas.length - 1)}`);
    return sigma;
  }
}

function requireLength(name: string, values: Float32Array, length: number): void {
  if (values.length !== length) throw new RangeError(`${name} has ${String(values.length)} elements, the sample ${String(length)}`);
}
