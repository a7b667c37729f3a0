/**
 * Exponential integrator with polynomials in log ρ, ρ = noise/signal, of orders 1 to 3: Zhang and Chen 2022, "Fast Sampling of Diffusion
 * Models with Exponential Integrator", tAB-DEIS. Reference: diffusers 0.42.1, scheduling_deis_multistep.py.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { multistepLevels, type MultistepConfig } from '../multistep-levels.js';
import { trainingSigmas } from '../noise-schedule.js';
import { convertToNoiseAtLevel, levelOfSigma } from '../prediction.js';
import { readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface DeisConfig extends MultistepConfig {
  readonly solverOrder: number;
  readonly lowerOrderFinal: boolean;
}

const className = 'DEISMultistepScheduler';

export function openDeisMultistep(reader: ConfigReader): Scheduler {
  for (const key of ['thresholding', 'use_flow_sigmas', 'use_dynamic_shifting']) reader.off(key);
  // diffusers takes the types of related solvers for its one.
  reader.oneOf('algorithm_type', ['deis', 'dpmsolver', 'dpmsolver++'], 'deis');
  reader.oneOf('solver_type', ['logrho', 'midpoint', 'heun', 'bh1', 'bh2'], 'logrho');
  const config: DeisConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace', zeroSnr: false }),
    sigmaSpacing: readSigmaSpacing(reader),
    finalSigmasType: 'sigma_min',
    solverOrder: reader.integer('solver_order', { least: 1, most: 3 }, 2),
    lowerOrderFinal: reader.boolean('lower_order_final', true),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => deisSchedule(config, training, steps) };
}

function deisSchedule(config: DeisConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, sigmas } = multistepLevels(config, training, count, { repeatsLast: true });
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const from = levelOfSigma(sigmas[index] ?? 0);
    const to = levelOfSigma(sigmas[index + 1] ?? 0);
    const [a, b, c, d] = noiseWeights(sigmas, index, orderOf(config, index, count));
    return {
      inputScale: 1,
      converted: convertToNoiseAtLevel(config.predictionType, from),
      anchor: sampleAsAnchor,
      next: { anchor: to.signal / from.signal, converted: [to.signal * a, to.signal * b, to.signal * c, d], noise: 0 },
    };
  });
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}

/** Orders grow with the outputs at hand and may fall at the end. */
function orderOf({ solverOrder, lowerOrderFinal }: DeisConfig, index: number, count: number): number {
  const left = lowerOrderFinal && count < 15 ? count - index : solverOrder;
  return Math.min(solverOrder, index + 1, left);
}

/** Integrals over the step in ρ of the polynomials in log ρ that are 1 at one of the last levels and 0 at the others. */
function noiseWeights(sigmas: Float32Array, index: number, order: number): ConvertedWeights {
  const [from, to] = [sigmas[index] ?? 0, sigmas[index + 1] ?? 0];
  const logs = Array.from({ length: order }, (_, back) => Math.log(sigmas[index - back] ?? 0));
  const weights = logs.map((own, at) => {
    const others = logs.filter((_, other) => other !== at);
    const scale = others.reduce((product, other) => product * (own - other), 1);
    return (integralOfLogs(others, to) - integralOfLogs(others, from)) / scale;
  });
  const [a = 0, b = 0, c = 0] = weights;
  return [a, b, c, 0];
}

/** ∫ Π (log ρ − root) dρ, of up to two roots. */
function integralOfLogs(roots: readonly number[], rho: number): number {
  const log = Math.log(rho);
  const [first, second] = roots;
  if (first === undefined) return rho;
  if (second === undefined) return rho * (log - 1 - first);
  return rho * (log ** 2 - 2 * log + 2 - (first + second) * (log - 1) + first * second);
}
