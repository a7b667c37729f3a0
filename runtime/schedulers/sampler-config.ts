/** What every sampler reads of scheduler_config.json: the training schedule, the spacing, the kind of prediction. */
import { SdxlError } from '../errors/index.js';
import type { ConfigReader } from './config-reader.js';
import { betaSchedules, timestepSpacings, type NoiseScheduleConfig, type TimestepSpacing } from './noise-schedule.js';
import { predictionTypes, type PredictionType } from './prediction.js';

export interface SamplerConfig extends NoiseScheduleConfig {
  readonly predictionType: PredictionType;
  readonly timestepSpacing: TimestepSpacing;
  readonly stepsOffset: number;
}

/** What absent fields mean, by class, and which fields a class does not have. */
interface Standards {
  readonly timestepSpacing: TimestepSpacing;
  /** Whether the class has `rescale_betas_zero_snr`. */
  readonly zeroSnr?: boolean;
  /** Whether it has `timestep_spacing` and `steps_offset`. */
  readonly spacing?: boolean;
  readonly predictionTypes?: readonly PredictionType[];
  readonly betas?: Pick<NoiseScheduleConfig, 'betaStart' | 'betaEnd' | 'betaSchedule'>;
}

const linearBetas = { betaStart: 0.0001, betaEnd: 0.02, betaSchedule: 'linear' } as const;

export function readSamplerConfig(reader: ConfigReader, standards: Standards): SamplerConfig {
  const { betas = linearBetas, zeroSnr = true, spacing = true, timestepSpacing } = standards;
  const { betaStart, betaEnd, betaSchedule } = betas;
  reader.absent('trained_betas');
  return {
    numTrainTimesteps: reader.integer('num_train_timesteps', { least: 2, most: 100_000 }, 1000),
    betaStart: reader.fraction('beta_start', betaStart),
    betaEnd: reader.fraction('beta_end', betaEnd),
    betaSchedule: reader.oneOf('beta_schedule', betaSchedules, betaSchedule),
    rescaleBetasZeroSnr: zeroSnr && reader.boolean('rescale_betas_zero_snr', false),
    predictionType: reader.oneOf('prediction_type', standards.predictionTypes ?? predictionTypes, 'epsilon'),
    timestepSpacing: spacing ? reader.oneOf('timestep_spacing', timestepSpacings, timestepSpacing) : timestepSpacing,
    stepsOffset: spacing ? reader.integer('steps_offset', { least: 0, most: 1000 }, 0) : 0,
  };
}

/** What the last step leaves: nothing, or the least noise of training. */
export const finalSigmas = ['zero', 'sigma_min'] as const;

/** How noise levels are spread between the least and the largest, where timesteps do not say it. */
export type SigmaSpacing = 'karras' | 'exponential';

export function readSigmaSpacing(reader: ConfigReader): SigmaSpacing | undefined {
  reader.off('use_beta_sigmas');
  const karras = reader.boolean('use_karras_sigmas', false);
  // diffusers refuses both as well.
  if (karras) reader.off('use_exponential_sigmas', { because: ", for noise levels are Karras' already" });
  if (karras) return 'karras';
  return reader.boolean('use_exponential_sigmas', false) ? 'exponential' : undefined;
}

/** @throws SdxlError JOB_INVALID unless `steps` is an integer from 1 to `most` */
export function requireSteps(steps: number, most: number): void {
  if (Number.isInteger(steps) && steps >= 1 && steps <= most) return;
  throw new SdxlError('JOB_INVALID', `numInferenceSteps ${String(steps)}: expected an integer from 1 to ${String(most)}`, {
    fields: { field: 'numInferenceSteps', value: steps, most },
  });
}

/**
 * Samplers that look ᾱ up by timestep need every timestep within the training schedule; with an offset the leading spacing can
 * begin beyond it.
 */
export function requireTrained(timesteps: Float32Array, { numTrainTimesteps, stepsOffset }: SamplerConfig): void {
  const [first = 0] = timesteps;
  if (first < numTrainTimesteps) return;
  const value = timesteps.length;
  throw new SdxlError(
    'JOB_INVALID',
    `numInferenceSteps ${String(value)}: with steps_offset ${String(stepsOffset)} the first timestep would be ${String(first)}, but the training schedule ends at ${String(numTrainTimesteps - 1)}`,
    { fields: { field: 'numInferenceSteps', value, timestep: first } },
  );
}

/** Of samplers for distilled models. */
export interface DistilledConfig extends SamplerConfig {
  /** Length of the grid the model was distilled on, from which the steps are picked. */
  readonly originalInferenceSteps: number;
}

/** `timestep_spacing` and `steps_offset` are read and have no effect, as in diffusers. */
export function readDistilledConfig(reader: ConfigReader): DistilledConfig {
  for (const key of ['clip_sample', 'thresholding']) reader.off(key);
  const betas = { betaStart: 0.00085, betaEnd: 0.012, betaSchedule: 'scaled_linear' } as const;
  const config = readSamplerConfig(reader, { timestepSpacing: 'leading', betas });
  const most = config.numTrainTimesteps;
  return { ...config, originalInferenceSteps: reader.integer('original_inference_steps', { least: 1, most }, 50) };
}

/** Timesteps picked evenly from the grid of `original` steps that a model was distilled on, as many at most. */
export function distilledTimesteps(numTrainTimesteps: number, original: number, count: number): Float32Array {
  requireSteps(count, original);
  const stride = Math.floor(numTrainTimesteps / original);
  return Float32Array.from({ length: count }, (_, index) => (original - Math.floor(index * (original / count))) * stride - 1);
}
