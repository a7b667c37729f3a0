/**
 * DPM-Solver++ and its SDE variant, multistep, orders 1 to 3 (SDE: 2): Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of
 * Diffusion Probabilistic Models". Reference: diffusers 0.42.1, scheduling_dpmsolver_multistep.py.
 *
 * With λ = ln(signal/noise) = −ln σ a step of length h = λ' − λ keeps the share e^(−h)·signal'/signal of x and adds the integral of the
 * image's Taylor series in λ, whose derivatives D1 and D2 are divided differences of the converted outputs.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { trainingSigmas } from '../noise-schedule.js';
import { multistepLevels, type MultistepConfig } from '../multistep-levels.js';
import { convertAtLevel, levelOfSigma } from '../prediction.js';
import { finalSigmas, readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface DpmSolverConfig extends MultistepConfig {
  readonly algorithmType: 'dpmsolver++' | 'sde-dpmsolver++';
  readonly solverType: 'midpoint' | 'heun';
  readonly solverOrder: number;
  readonly lowerOrderFinal: boolean;
  readonly eulerAtFinal: boolean;
}

const className = 'DPMSolverMultistepScheduler';

export function openDpmSolverMultistep(reader: ConfigReader): Scheduler {
  for (const key of ['thresholding', 'use_lu_lambdas']) reader.off(key);
  for (const key of ['use_flow_sigmas', 'use_dynamic_shifting']) reader.off(key);
  reader.absent('variance_type');
  reader.negativeInfinity('lambda_min_clipped');
  const algorithmType = reader.oneOf('algorithm_type', ['dpmsolver++', 'sde-dpmsolver++'], 'dpmsolver++');
  // diffusers takes the types of related solvers for midpoint.
  const solverType = reader.oneOf('solver_type', ['midpoint', 'heun', 'logrho', 'bh1', 'bh2'], 'midpoint');
  const config: DpmSolverConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace' }),
    sigmaSpacing: readSigmaSpacing(reader),
    finalSigmasType: reader.oneOf('final_sigmas_type', finalSigmas, 'zero'),
    algorithmType,
    solverType: solverType === 'heun' ? 'heun' : 'midpoint',
    solverOrder: reader.integer('solver_order', { least: 1, most: algorithmType === 'sde-dpmsolver++' ? 2 : 3 }, 2),
    lowerOrderFinal: reader.boolean('lower_order_final', true),
    eulerAtFinal: reader.boolean('euler_at_final', false),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => dpmSolverSchedule(config, training, steps) };
}

function dpmSolverSchedule(config: DpmSolverConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, sigmas } = multistepLevels(config, training, count, { repeatsLast: false });
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const sigma = sigmas[index] ?? 0;
    return {
      inputScale: 1,
      converted: convertAtLevel(config.predictionType, levelOfSigma(sigma)),
      anchor: sampleAsAnchor,
      next: update(config, sigmas, index, orderOf(config, index, count)),
    };
  });
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}

/** Orders grow with the outputs at hand and may fall at the end. */
function orderOf(config: DpmSolverConfig, index: number, count: number): number {
  const fewSteps = config.lowerOrderFinal && count < 15;
  const last = index === count - 1 && (config.eulerAtFinal || fewSteps || config.finalSigmasType === 'zero');
  if (config.solverOrder === 1 || index < 1 || last) return 1;
  return config.solverOrder === 2 || index < 2 || (index === count - 2 && fewSteps) ? 2 : 3;
}

function update(config: DpmSolverConfig, sigmas: Float32Array, index: number, order: number): LinearStep['next'] {
  const lambda = (at: number): number => -Math.log(sigmas[at] ?? 0);
  const [from, to] = [levelOfSigma(sigmas[index] ?? 0), levelOfSigma(sigmas[index + 1] ?? 0)];
  const step = lambda(index + 1) - lambda(index);
  const sde = config.algorithmType === 'sde-dpmsolver++';
  // The SDE passes through twice the length, half of which its noise undoes.
  const length = sde ? 2 * step : step;
  const decay = Math.exp(-length);
  const kept = (to.noise / from.noise) * (sde ? Math.exp(-step) : 1);
  const noise = sde ? to.noise * Math.sqrt(1 - decay) : 0;
  const weights: [number, number, number, number] = [to.signal * (1 - decay), 0, 0, 0];
  const addDifferences = (factor: number, differences: ConvertedWeights): void => {
    differences.forEach((weight, at) => (weights[at] = (weights[at] ?? 0) + factor * weight));
  };
  const r0 = (lambda(index) - lambda(index - 1)) / step;
  const first: ConvertedWeights = [1 / r0, -1 / r0, 0, 0];
  // The integral of the first derivative; `midpoint` approximates it by half of the zeroth's.
  const firstIntegral = to.signal * ((decay - 1) / length + 1);
  if (order === 2) addDifferences(config.solverType === 'heun' ? firstIntegral : to.signal * 0.5 * (1 - decay), first);
  if (order === 3) {
    const r1 = (lambda(index - 1) - lambda(index - 2)) / step;
    const older: ConvertedWeights = [0, 1 / r1, -1 / r1, 0];
    const change = first.map((weight, at) => weight - (older[at] ?? 0));
    const combined = (share: number, base: ConvertedWeights): ConvertedWeights => {
      const [a = 0, b = 0, c = 0, d = 0] = base.map((weight, at) => weight + share * (change[at] ?? 0));
      return [a, b, c, d];
    };
    addDifferences(firstIntegral, combined(r0 / (r0 + r1), first));
    addDifferences(-to.signal * ((decay - 1 + length) / length ** 2 - 0.5), combined(1 / (r0 + r1), [0, 0, 0, 0]));
  }
  return { anchor: kept, converted: weights, noise };
}
