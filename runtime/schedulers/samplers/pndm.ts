/**
 * Pseudo linear multistep (PLMS): Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", equations 9 and 12, begun by a
 * step that is made twice instead of by Runge-Kutta steps. Reference: diffusers 0.42.1, scheduling_pndm.py with `skip_prk_steps`.
 *
 * n steps are n + 1 calls of the model: the second goes back to where the first set out from.
 */
import type { ConfigReader } from '../config-reader.js';
import { finiteSteps, keptAnchor, sampleAsAnchor, type ConvertedWeights, type LinearStep } from '../linear-step.js';
import { alphasCumprod, integerTimesteps } from '../noise-schedule.js';
import { levelOfAlpha, sigmasOfAlphas } from '../prediction.js';
import { readSamplerConfig, requireSteps, requireTrained, type SamplerConfig } from '../sampler-config.js';
import type { Schedule, Scheduler } from '../scheduler.js';

const className = 'PNDMScheduler';

export function openPndm(reader: ConfigReader): Scheduler {
  reader.on('skip_prk_steps', { standard: false });
  const config = readSamplerConfig(reader, {
    timestepSpacing: 'leading',
    zeroSnr: false,
    predictionTypes: ['epsilon', 'v_prediction'],
  });
  const alphas = alphasCumprod(config);
  const finalAlpha = reader.boolean('set_alpha_to_one', false) ? 1 : (alphas[0] ?? 1);
  const { numTrainTimesteps } = config;
  return { className, numTrainTimesteps, setTimesteps: (steps) => pndmSchedule(config, alphas, finalAlpha, steps) };
}

function pndmSchedule(config: SamplerConfig, alphas: Float32Array, finalAlpha: number, count: number): Schedule {
  const { numTrainTimesteps } = config;
  requireSteps(count, numTrainTimesteps);
  const spaced = integerTimesteps(config.timestepSpacing, count, numTrainTimesteps, config.stepsOffset);
  requireTrained(spaced, config);
  const timesteps = Float32Array.from([...spaced.subarray(0, 2), ...spaced.subarray(1)]);
  const stride = Math.floor(numTrainTimesteps / count);
  const alphaAt = (timestep: number): number => (timestep < 0 ? finalAlpha : (alphas[timestep] ?? NaN));
  const transfers = Array.from(timesteps, (timestep, index) => {
    const from = index === 1 ? timestep + stride : timestep;
    return transfer(config, alphaAt(from), alphaAt(from - stride));
  });
  const steps = transfers.map(({ sample, output }, index): LinearStep => ({
    inputScale: 1,
    // Outputs are combined as they are, and understood afterwards.
    converted: { sample: 0, output: 1 },
    ...(index === 3 || index === 4
      ? withFirstOutput(transfers, index)
      : {
          anchor: index === 1 ? keptAnchor : sampleAsAnchor,
          next: { anchor: sample, converted: scaled(outputWeights[Math.min(index, 5)], output), noise: 0 },
        }),
  }));
  const sigmas = sigmasOfAlphas([...Array.from(timesteps, alphaAt), finalAlpha]);
  return { timesteps, sigmas, initNoiseSigma: 1, steps: finiteSteps(className, steps, count) };
}

/** x' = sample · x + output · e. */
interface Transfer {
  readonly sample: number;
  readonly output: number;
}

/** Equation 9, of a prediction of the noise or of the velocity. */
function transfer({ predictionType }: SamplerConfig, alpha: number, next: number): Transfer {
  const kept = Math.sqrt(next / alpha);
  const noise = -(next - alpha) / (alpha * Math.sqrt(1 - next) + Math.sqrt(alpha * (1 - alpha) * next));
  if (predictionType === 'epsilon') return { sample: kept, output: noise };
  const from = levelOfAlpha(alpha);
  return { sample: kept + noise * from.noise, output: noise * from.signal };
}

/** Adams-Bashforth's weights of m0 to m3 by call. The output of call 1 serves that call alone, but takes a place in the history. */
const outputWeights: Readonly<Record<number, ConvertedWeights>> = {
  0: [1, 0, 0, 0],
  1: [1 / 2, 1 / 2, 0, 0],
  2: [3 / 2, 0, -1 / 2, 0],
  3: [23 / 12, -16 / 12, 0, 5 / 12],
  // And −9/24 of the first output.
  4: [55 / 24, -59 / 24, 37 / 24, 0],
  5: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
};
const firstOutputWeight = -9 / 24;

/**
 * Call 4 needs the first output, which the history has lost to call 1's. Call 3 leaves x3 + e0 in the anchor; with x4 = a·x3 + b·(23 e3 − 16 e2
 * + 5 e0)/12 call 4 gets e0 from what x4 and the anchor hold: (x4 − a·anchor − b·(23 e3 − 16 e2)/12) / (5b/12 − a).
 */
function withFirstOutput(transfers: readonly Transfer[], index: 3 | 4): Pick<LinearStep, 'anchor' | 'next'> {
  const { sample: a, output: b } = transfers[3] ?? { sample: 0, output: 0 };
  const [newest, second, , first] = outputWeights[3] ?? [0, 0, 0, 0];
  if (index === 3) {
    return {
      anchor: { sample: 1, anchor: 0, converted: [0, 0, 0, 1] },
      next: { anchor: a, converted: [b * newest, b * second, 0, b * first - a], noise: 0 },
    };
  }
  const { sample, output } = transfers[4] ?? { sample: 0, output: 0 };
  const weight = (firstOutputWeight * output) / (b * first - a);
  const share = weight / sample;
  return {
    anchor: { sample: 1 + share, anchor: -a * share, converted: [0, -b * newest * share, -b * second * share, 0] },
    next: { anchor: sample, converted: scaled(outputWeights[4], output), noise: 0 },
  };
}

function scaled([a, b, c, d]: ConvertedWeights = [0, 0, 0, 0], by: number): ConvertedWeights {
  return [a * by, b * by, c * by, d * by];
}
