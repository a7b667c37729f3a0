/**
 * DPM-Solver++ and its SDE variant, singlestep, orders 1 to 3 (SDE: 2): Lu et al. 2022, "DPM-Solver++", algorithm 1 spread over calls. Steps come in
 * groups of rising order that all set out from their first one's x. Reference: diffusers 0.42.1, scheduling_dpmsolver_singlestep.py, which has neither
 * `timestep_spacing` nor `steps_offset`.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, keptAnchor, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { multistepLevels, type MultistepConfig } from '../multistep-levels.js';
import { trainingSigmas } from '../noise-schedule.js';
import { convertAtLevel, levelOfSigma } from '../prediction.js';
import { finalSigmas, readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface SinglestepConfig extends MultistepConfig {
  readonly sde: boolean;
  readonly solverType: 'midpoint' | 'heun';
  readonly solverOrder: number;
  readonly lowerOrderFinal: boolean;
}

const className = 'DPMSolverSinglestepScheduler';

export function openDpmSolverSinglestep(reader: ConfigReader): Scheduler {
  for (const key of ['thresholding', 'use_flow_sigmas', 'use_dynamic_shifting']) reader.off(key);
  reader.absent('variance_type');
  reader.negativeInfinity('lambda_min_clipped');
  const sde = reader.oneOf('algorithm_type', ['dpmsolver++', 'sde-dpmsolver++'], 'dpmsolver++') === 'sde-dpmsolver++';
  // diffusers takes the types of related solvers for midpoint.
  const solverType = reader.oneOf('solver_type', ['midpoint', 'heun', 'logrho', 'bh1', 'bh2'], 'midpoint');
  const config: SinglestepConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace', zeroSnr: false, spacing: false }),
    sigmaSpacing: readSigmaSpacing(reader),
    finalSigmasType: reader.oneOf('final_sigmas_type', finalSigmas, 'zero'),
    sde,
    solverType: solverType === 'heun' ? 'heun' : 'midpoint',
    solverOrder: reader.integer('solver_order', { least: 1, most: sde ? 2 : 3 }, 2),
    lowerOrderFinal: reader.boolean('lower_order_final', false),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => singlestepSchedule(config, training, steps) };
}

function singlestepSchedule(config: SinglestepConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, sigmas } = multistepLevels(config, training, count, { repeatsLast: false });
  const orders = ordersOf(config, count);
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const order = orders[index] ?? 1;
    return {
      inputScale: 1,
      converted: convertAtLevel(config.predictionType, levelOfSigma(sigmas[index] ?? 0)),
      anchor: order === 1 ? sampleAsAnchor : keptAnchor,
      next: update(config, sigmas, index, order),
    };
  });
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}

/** 1, 2, …, again and again. Where groups are left incomplete or the last level is zero, the last steps are of lower order, whatever the file says. */
function ordersOf({ solverOrder, lowerOrderFinal, finalSigmasType }: SinglestepConfig, count: number): number[] {
  const orders = Array.from({ length: count }, (_, index) => (index % solverOrder) + 1);
  const toZero = finalSigmasType === 'zero';
  if (!lowerOrderFinal && !toZero && count % solverOrder === 0) return orders;
  // A last group that is whole ends with 1 instead of its highest order; of order 3 it is 1, 2, 1.
  if (count % solverOrder === 0 || toZero) orders[count - 1] = 1;
  return orders;
}

function update(config: SinglestepConfig, sigmas: Float32Array, index: number, order: number): LinearStep['next'] {
  const lambda = (at: number): number => -Math.log(sigmas[at] ?? 0);
  const start = index - order + 1;
  const [from, to] = [levelOfSigma(sigmas[start] ?? 0), levelOfSigma(sigmas[index + 1] ?? 0)];
  const step = lambda(index + 1) - lambda(start);
  // The SDE passes through twice the length, half of which its noise undoes.
  const length = config.sde ? 2 * step : step;
  const decay = Math.exp(-length);
  const kept = (to.noise / from.noise) * (config.sde ? Math.exp(-step) : 1);
  const noise = config.sde ? to.noise * Math.sqrt(1 - decay) : 0;
  const share = (at: number): number => (lambda(at) - lambda(start)) / step;
  return { anchor: kept, converted: imageWeights(config, order, { decay, length, share, index }, to.signal), noise };
}

interface Length {
  readonly decay: number;
  readonly length: number;
  readonly index: number;
  /** How far along the step a level lies. */
  readonly share: (at: number) => number;
}

function imageWeights(
  { solverType }: SinglestepConfig,
  order: number,
  { decay, length, share, index }: Length,
  signal: number,
): ConvertedWeights {
  const zeroth = signal * (1 - decay);
  if (order === 1) return [zeroth, 0, 0, 0];
  // The integral of the first derivative; `midpoint` of order 2 approximates it by half of the zeroth's.
  const firstIntegral = signal * ((decay - 1) / length + 1);
  const newest = 1 / share(index);
  if (order === 2) {
    const first = (solverType === 'heun' ? firstIntegral : zeroth / 2) * newest;
    return [first, zeroth - first, 0, 0];
  }
  if (solverType === 'midpoint') return [firstIntegral * newest, 0, zeroth - firstIntegral * newest, 0];
  const [r0, r1] = [share(index), share(index - 1)];
  const secondIntegral = -signal * ((decay - 1 + length) / length ** 2 - 0.5);
  // D1 = (r0·D10 − r1·D11)/(r0 − r1), D2 = 2·(D11 − D10)/(r0 − r1), with D10 = (m1 − m2)/r1 and D11 = (m0 − m2)/r0.
  const ofD10 = (firstIntegral * r0 - 2 * secondIntegral) / (r0 - r1) / r1;
  const ofD11 = (2 * secondIntegral - firstIntegral * r1) / (r0 - r1) / r0;
  return [ofD11, ofD10, zeroth - ofD10 - ofD11, 0];
}
