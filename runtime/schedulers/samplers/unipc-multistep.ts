/**
 * UniPC, B(h) variants, predicting the image, orders 1 to 3: Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for
 * Fast Sampling of Diffusion Models". Reference: diffusers 0.42.1, scheduling_unipc_multistep.py.
 *
 * Once the output at x is known, the corrector repeats the step that led to x from where it set out (the anchor), now with that
 * output; the predictor goes on from the corrected point.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { multistepLevels, type MultistepConfig } from '../multistep-levels.js';
import { trainingSigmas } from '../noise-schedule.js';
import { convertAtLevel, levelOfSigma } from '../prediction.js';
import { finalSigmas, readSamplerConfig, readSigmaSpacing } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

interface UniPcConfig extends MultistepConfig {
  readonly solverType: 'bh1' | 'bh2';
  readonly solverOrder: number;
  readonly lowerOrderFinal: boolean;
  /** Steps whose result is not corrected. */
  readonly disableCorrector: readonly number[];
}

const className = 'UniPCMultistepScheduler';

export function openUniPcMultistep(reader: ConfigReader): Scheduler {
  for (const key of ['thresholding', 'use_flow_sigmas', 'use_dynamic_shifting']) reader.off(key);
  for (const key of ['solver_p', 'sigma_min', 'sigma_max', 'shift_terminal']) reader.absent(key);
  reader.on('predict_x0');
  // diffusers takes the types of related solvers for these.
  const solverType = reader.oneOf('solver_type', ['bh1', 'bh2', 'midpoint', 'heun', 'logrho'], 'bh2');
  const solverOrder = reader.integer('solver_order', { least: 1, most: 3 }, 2);
  const finalSigmasType = reader.oneOf('final_sigmas_type', finalSigmas, 'zero');
  // The last step is infinitely long in λ where it ends without noise: only order 1 has a limit.
  if (finalSigmasType === 'zero' && solverOrder > 1) reader.on('lower_order_final');
  const config: UniPcConfig = {
    ...readSamplerConfig(reader, { timestepSpacing: 'linspace' }),
    sigmaSpacing: readSigmaSpacing(reader),
    finalSigmasType,
    solverType: solverType === 'bh1' ? 'bh1' : 'bh2',
    solverOrder,
    lowerOrderFinal: reader.boolean('lower_order_final', true),
    disableCorrector: reader.integers('disable_corrector', []),
  };
  const training = trainingSigmas(config);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => uniPcSchedule(config, training, steps) };
}

function uniPcSchedule(config: UniPcConfig, training: Float32Array, count: number): Schedule {
  const { timesteps, sigmas } = multistepLevels(config, training, count, { repeatsLast: true });
  const orderOf = (index: number): number => {
    const most = config.lowerOrderFinal ? Math.min(config.solverOrder, count - index) : config.solverOrder;
    return Math.min(most, index + 1);
  };
  const steps = Array.from(timesteps, (_, index): LinearStep => {
    const corrected = index > 0 && !config.disableCorrector.includes(index - 1);
    return {
      inputScale: 1,
      converted: convertAtLevel(config.predictionType, levelOfSigma(sigmas[index] ?? 0)),
      anchor: corrected ? corrector(config, sigmas, index, orderOf(index - 1)) : sampleAsAnchor,
      next: { ...predictor(config, sigmas, index, orderOf(index)), noise: 0 },
    };
  });
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps) };
}

/** From the anchor at `index` to level `index + 1`, with the outputs up to m0. */
function predictor(config: UniPcConfig, sigmas: Float32Array, index: number, order: number): Omit<LinearStep['next'], 'noise'> {
  const step = interval(config, sigmas, index, order);
  // Order 2 is simplified to ½ in both variants.
  const rhos =
    order === 2
      ? [0.5]
      : solve(
          step.powers.slice(0, -1).map((row) => row.slice(0, -1)),
          step.targets.slice(0, -1),
        );
  return { anchor: step.kept, converted: combine(step, rhos, undefined, 0) };
}

/** From the anchor at `index − 1` to level `index` again, with m0 behind its end. */
function corrector(config: UniPcConfig, sigmas: Float32Array, index: number, order: number): LinearStep['anchor'] {
  const step = interval(config, sigmas, index - 1, order);
  const rhos = order === 1 ? [0.5] : solve(step.powers, step.targets);
  return { sample: 0, anchor: step.kept, converted: combine(step, rhos.slice(0, -1), rhos.at(-1), 1) };
}

interface Interval {
  /** Share of the start in the end. */
  readonly kept: number;
  /** signal · h·φ₁(h) and signal · B(h), signed as subtracted. */
  readonly base: number;
  readonly correction: number;
  /** (λ of the k-th output before the start − λ of the start) / h, for k from 1 to order − 1. */
  readonly ratios: readonly number[];
  /** The system R·ρ = b of the paper's equation 10. */
  readonly powers: readonly (readonly number[])[];
  readonly targets: readonly number[];
}

function interval({ solverType }: UniPcConfig, sigmas: Float32Array, start: number, order: number): Interval {
  const lambda = (at: number): number => -Math.log(sigmas[at] ?? 0);
  const [from, to] = [levelOfSigma(sigmas[start] ?? 0), levelOfSigma(sigmas[start + 1] ?? 0)];
  const h = lambda(start + 1) - lambda(start);
  const ratios = Array.from({ length: order - 1 }, (_, at) => (lambda(start - 1 - at) - lambda(start)) / h);
  const phi1 = Math.expm1(-h);
  const b = solverType === 'bh1' ? -h : phi1;
  const nodes = [...ratios, 1];
  const powers = Array.from({ length: order }, (_, power) => nodes.map((node) => node ** power));
  const targets: number[] = [];
  let [phi, factorial] = [phi1 / -h - 1, 1];
  for (let power = 1; power <= order; power++) {
    targets.push((phi * factorial) / b);
    factorial *= power + 1;
    phi = phi / -h - 1 / factorial;
  }
  return { kept: to.noise / from.noise, base: to.signal * phi1, correction: to.signal * b, ratios, powers, targets };
}

/** Weights of m0 to m3: `newest` is the output at the interval's start (m0 for the predictor, m1 for the corrector). */
function combine(step: Interval, rhos: readonly number[], endRho: number | undefined, newest: 0 | 1): ConvertedWeights {
  const weights: [number, number, number, number] = [0, 0, 0, 0];
  const add = (at: number, weight: number): void => {
    weights[at] = (weights[at] ?? 0) + weight;
  };
  add(newest, -step.base);
  step.ratios.forEach((ratio, at) => {
    const weight = (step.correction * (rhos[at] ?? 0)) / ratio;
    add(newest + 1 + at, -weight);
    add(newest, weight);
  });
  if (endRho !== undefined) {
    add(0, -step.correction * endRho);
    add(newest, step.correction * endRho);
  }
  return weights;
}

/** Solves a system of at most three equations by Gauss's elimination with the largest pivot. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, at) => [...row, right[at] ?? 0]);
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    const pivots = rows.slice(column).sort((a, b) => Math.abs(b[column] ?? 0) - Math.abs(a[column] ?? 0));
    rows.splice(column, pivots.length, ...pivots);
    const pivot = rows[column] ?? [];
    for (const [at, row] of rows.entries()) {
      if (at === column) continue;
      const factor = (row[column] ?? 0) / (pivot[column] ?? 0);
      row.forEach((value, place) => (row[place] = value - factor * (pivot[place] ?? 0)));
    }
  }
  return rows.map((row, at) => (row[size] ?? 0) / (row[at] ?? 0));
}
