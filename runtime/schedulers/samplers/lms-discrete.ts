/**
 * Linear multistep (Adams-Bashforth) of order 4 on uneven noise levels. Reference: diffusers 0.42.1, scheduling_lms_discrete.py, whose
 * order the pipeline leaves at 4; k-diffusion's `sample_lms`.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { trainingSigmas } from '../noise-schedule.js';
import { convertToNoiseAtSigma } from '../prediction.js';
import { readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';
import { initialSigma, sigmaLevels, standardDeviation, type SigmaConfig } from '../sigma-levels.js';

const className = 'LMSDiscreteScheduler';
const order = 4;

export function openLmsDiscrete(reader: ConfigReader): Scheduler {
  const config: SigmaConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace', zeroSnr: false }),
    sigmaSpacing: readSigmaSpacing(reader),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => lmsSchedule(config, training, steps) };
}

function lmsSchedule(config: SigmaConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, levels } = sigmaLevels(config, training, count);
  const sigmas = Float32Array.from([...levels, 0]);
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const sigma = sigmas[index] ?? 0;
    return {
      inputScale: 1 / standardDeviation(sigma),
      converted: convertToNoiseAtSigma(config.predictionType, sigma),
      anchor: sampleAsAnchor,
      next: { anchor: 1, converted: derivativeWeights(sigmas, index), noise: 0 },
    };
  });
  return { timesteps, sigmas, initNoiseSigma: initialSigma(sigmas, config), steps: finiteSteps(className, steps) };
}

/** Integrals over the step of the polynomials that are 1 at one of the last levels and 0 at the others. */
function derivativeWeights(sigmas: Float32Array, index: number): ConvertedWeights {
  const [from, to] = [sigmas[index] ?? 0, sigmas[index + 1] ?? 0];
  const known = Array.from({ length: Math.min(index + 1, order) }, (_, back) => sigmas[index - back] ?? 0);
  const weights = known.map((own, at) => {
    const others = known.filter((_, other) => other !== at);
    return integral((sigma) => others.reduce((product, other) => (product * (sigma - other)) / (own - other), 1), from, to);
  });
  const [a = 0, b = 0, c = 0, d = 0] = weights;
  return [a, b, c, d];
}

/** Simpson's rule, exact up to the third degree. */
function integral(of: (at: number) => number, from: number, to: number): number {
  return ((to - from) / 6) * (of(from) + 4 * of((from + to) / 2) + of(to));
}
