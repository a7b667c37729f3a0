/**
 * Samplers that ask the model twice for a step: Heun's method (algorithm 1 of Karras et al. 2022, "Elucidating the Design Space of
 * Diffusion-Based Generative Models", without churn) and the midpoint's, DPM-Solver-2 (Lu et al. 2022, "DPM-Solver", in k-diffusion's form),
 * plain and ancestral. Reference: diffusers 0.42.1, scheduling_heun_discrete.py, scheduling_k_dpm_2_discrete.py and
 * scheduling_k_dpm_2_ancestral_discrete.py.
 *
 * n steps are 2n − 1 calls of the model: the last step goes to σ = 0, where there is nothing to ask, and is Euler's. The first call of a
 * step leaves x in `anchor`, and the second sets out from there again.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, keptAnchor, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { timestepOfSigma, trainingSigmas } from '../noise-schedule.js';
import { convertToNoiseAtSigma, predictionTypes } from '../prediction.js';
import { readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';
import { ancestralLevels, initialSigma, sigmaLevels, standardDeviation, type SigmaConfig } from '../sigma-levels.js';

interface Method {
  readonly className: string;
  /** Whether Karras' timesteps are rounded. */
  readonly roundsKarras: boolean;
  /** Whether the class knows the prediction type `sample`. */
  readonly predictsSample: boolean;
  /** How x goes from σ to the next level by way of another one. */
  step(sigma: number, next: number): TwoStage;
}

interface TwoStage {
  /** σ at which the model is asked again. */
  readonly between: number;
  /** Weights of the derivatives there and at σ. */
  readonly derivatives: readonly [there: number, here: number];
  readonly noise: number;
}

const betas = { betaStart: 0.00085, betaEnd: 0.012, betaSchedule: 'linear' } as const;

const heun: Method = {
  className: 'HeunDiscreteScheduler',
  roundsKarras: false,
  predictsSample: true,
  step: (sigma, next) => ({ between: next, derivatives: [(next - sigma) / 2, (next - sigma) / 2], noise: 0 }),
};

const midpoint: Method = {
  className: 'KDPM2DiscreteScheduler',
  roundsKarras: true,
  predictsSample: false,
  step: (sigma, next) => ({ between: Math.sqrt(sigma * next), derivatives: [next - sigma, 0], noise: 0 }),
};

const ancestralMidpoint: Method = {
  className: 'KDPM2AncestralDiscreteScheduler',
  roundsKarras: true,
  predictsSample: false,
  step: (sigma, next) => {
    const { up, down } = ancestralLevels(sigma, next);
    return { between: Math.sqrt(sigma * down), derivatives: [down - sigma, 0], noise: up };
  },
};

export const openHeunDiscrete = (reader: ConfigReader): Scheduler => open(reader, heun, () => reader.off('clip_sample'));
export const openKdpm2Discrete = (reader: ConfigReader): Scheduler => open(reader, midpoint);
export const openKdpm2AncestralDiscrete = (reader: ConfigReader): Scheduler => open(reader, ancestralMidpoint);

function open(reader: ConfigReader, method: Method, readMore: () => void = () => undefined): Scheduler {
  readMore();
  const types = method.predictsSample ? predictionTypes : predictionTypes.filter((type) => type !== 'sample');
  const config: SigmaConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace', zeroSnr: false, betas, predictionTypes: types }),
    sigmaSpacing: readSigmaSpacing(reader),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className: method.className, numTrainTimesteps, setTimesteps: (steps) => schedule(method, config, training, steps) };
}

function schedule(method: Method, config: SigmaConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, levels } = sigmaLevels(config, training, count, method);
  const targets = Float32Array.from([...levels, 0]);
  const calls = Array.from(timesteps, (timestep, index): readonly Call[] => {
    const [sigma = 0, next = 0] = targets.subarray(index);
    if (index === count - 1) return [call(config, sigma, timestep, sampleAsAnchor, [-sigma, 0, 0, 0])];
    const { between, derivatives, noise } = method.step(sigma, next);
    // Heun's way leads to the next level itself, whose timestep is known.
    const then = between === next ? (timesteps[index + 1] ?? 0) : timestepOfSigma(between, training);
    return [
      call(config, sigma, timestep, sampleAsAnchor, [between - sigma, 0, 0, 0]),
      call(config, between, then, keptAnchor, [...derivatives, 0, 0], noise),
    ];
  }).flat();
  return {
    timesteps: Float32Array.from(calls, ({ timestep }) => timestep),
    sigmas: Float32Array.from([...calls.map(({ sigma }) => sigma), 0]),
    initNoiseSigma: initialSigma(targets, config),
    steps: finiteSteps(
      method.className,
      calls.map(({ step }) => step),
      count,
    ),
  };
}

/** One call of the model and what follows. */
interface Call {
  readonly sigma: number;
  readonly timestep: number;
  readonly step: LinearStep;
}

function call(
  { predictionType }: SigmaConfig,
  sigma: number,
  timestep: number,
  anchor: LinearStep['anchor'],
  converted: ConvertedWeights,
  noise = 0,
): Call {
  const inputScale = 1 / standardDeviation(sigma);
  const step = { inputScale, converted: convertToNoiseAtSigma(predictionType, sigma), anchor, next: { anchor: 1, converted, noise } };
  return { sigma, timestep, step };
}
