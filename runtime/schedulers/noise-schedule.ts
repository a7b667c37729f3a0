/**
 * The training noise schedule and the choice of its timesteps. Reference: diffusers 0.42.1, schedulers/scheduling_euler_discrete.py
 * (`__init__`, `set_timesteps`), rounding to float32 where torch does. Spacings: Lin et al. 2023, "Common Diffusion Noise Schedules
 * and Sample Steps are Flawed", table 2.
 */

export const betaSchedules = ['linear', 'scaled_linear', 'squaredcos_cap_v2'] as const;
export type BetaSchedule = (typeof betaSchedules)[number];

export const timestepSpacings = ['leading', 'trailing', 'linspace'] as const;
export type TimestepSpacing = (typeof timestepSpacings)[number];

const round = Math.fround;

export interface NoiseScheduleConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: BetaSchedule;
  /** Shifts and scales √ᾱ so that the last timestep is pure noise (Lin et al. 2023, algorithm 1). */
  readonly rescaleBetasZeroSnr: boolean;
}

/** [numTrainTimesteps] float32 ᾱ, falling: the running product of 1 − β, kept in double as torch.cumprod does. */
export function alphasCumprod(config: NoiseScheduleConfig): Float32Array {
  const alphas = betas(config).map((beta) => 1 - beta);
  return cumulativeProduct(config.rescaleBetasZeroSnr ? zeroTerminalSnr(alphas) : alphas);
}

/**
 * [numTrainTimesteps] float32 σ = √((1 − ᾱ)/ᾱ), rising. Samplers that count in σ cannot hold the infinite σ of pure noise: with
 * zero terminal SNR the last ᾱ is 2⁻²⁴ there, as in diffusers.
 */
export function trainingSigmas(config: NoiseScheduleConfig): Float32Array {
  const alphas = alphasCumprod(config);
  if (config.rescaleBetasZeroSnr) alphas[alphas.length - 1] = 2 ** -24;
  return alphas.map((alpha) => Math.sqrt(round(round(1 - alpha) / alpha)));
}

function betas({ numTrainTimesteps: count, betaStart, betaEnd, betaSchedule }: NoiseScheduleConfig): Float32Array {
  switch (betaSchedule) {
    case 'linear':
      return linspace(betaStart, betaEnd, count);
    case 'scaled_linear':
      return linspace(Math.sqrt(betaStart), Math.sqrt(betaEnd), count).map((value) => value * value);
    case 'squaredcos_cap_v2': {
      // Nichol and Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models", equation 17.
      const alphaBar = (time: number): number => Math.cos((((time + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return Float32Array.from({ length: count }, (_, at) => Math.min(1 - alphaBar((at + 1) / count) / alphaBar(at / count), 0.999));
    }
    default:
      return betaSchedule satisfies never;
  }
}

/** α → α whose product ends at 0; float32 after each operation. */
function zeroTerminalSnr(alphas: Float32Array): Float32Array {
  const roots = cumulativeProduct(alphas).map(Math.sqrt);
  const [first, last] = [roots[0] ?? 0, roots.at(-1) ?? 0];
  const scale = round(first / round(first - last));
  const products = roots.map((root) => round(round(root - last) * scale) ** 2);
  // Through β = 1 − α and back, which rounds once more.
  return products.map((product, at) => 1 - round(1 - round(product / (at === 0 ? 1 : (products[at - 1] ?? 1)))));
}

function cumulativeProduct(values: Float32Array): Float32Array {
  let product = 1;
  return values.map((value) => (product *= value));
}

/** torch.linspace in float32: from the start up to the middle, from the end down to it, product and sum rounded once (fused). */
function linspace(start: number, end: number, count: number): Float32Array {
  const [first, last] = [round(start), round(end)];
  const step = count > 1 ? round(round(last - first) / (count - 1)) : 0;
  return Float32Array.from({ length: count }, (_, index) =>
    index < Math.floor(count / 2) ? first + step * index : last - step * (count - index - 1),
  );
}

/**
 * [steps] float32 timesteps, falling. (For 62 numbers of steps below 1000, 61 the least, diffusers' trailing spacing gives one step
 * too many, at timestep −1, because its float range overshoots; here it is always as many as asked for.)
 */
export function spacedTimesteps(spacing: TimestepSpacing, steps: number, trainTimesteps: number, stepsOffset: number): Float32Array {
  return Float32Array.from(spaced(spacing, steps, trainTimesteps, stepsOffset));
}

/** The same as integers, rounded from doubles. */
export function integerTimesteps(spacing: TimestepSpacing, steps: number, trainTimesteps: number, stepsOffset: number): Float32Array {
  return Float32Array.from(spaced(spacing, steps, trainTimesteps, stepsOffset), roundHalfEven);
}

function spaced(spacing: TimestepSpacing, steps: number, trainTimesteps: number, stepsOffset: number): Float64Array {
  const timestep = ((): ((index: number) => number) => {
    switch (spacing) {
      case 'leading': {
        const ratio = Math.floor(trainTimesteps / steps);
        return (index) => (steps - 1 - index) * ratio + stepsOffset;
      }
      case 'trailing': {
        const ratio = trainTimesteps / steps;
        return (index) => roundHalfEven(trainTimesteps - index * ratio) - 1;
      }
      case 'linspace': {
        const stride = steps > 1 ? (trainTimesteps - 1) / (steps - 1) : 0;
        return (index) => (index === 0 && steps > 1 ? trainTimesteps - 1 : (steps - 1 - index) * stride);
      }
      default:
        return spacing satisfies never;
    }
  })();
  return Float64Array.from({ length: steps }, (_, index) => timestep(index));
}

/**
 * [steps] integer timesteps of the multistep samplers, falling: leading and linspace space one timestep more and drop the last,
 * which would be next to no noise.
 */
export function multistepTimesteps(spacing: TimestepSpacing, steps: number, trainTimesteps: number, stepsOffset: number): Float32Array {
  const count = spacing === 'trailing' ? steps : steps + 1;
  return integerTimesteps(spacing, count, trainTimesteps, stepsOffset).subarray(0, steps);
}

/** Linear interpolation between the training timesteps 0, 1, 2, …; beyond them the nearest value. */
export function interpolate(values: Float32Array, at: number): number {
  const last = values.length - 1;
  const place = Math.min(Math.max(at, 0), last);
  const below = Math.min(Math.floor(place), Math.max(last - 1, 0));
  const [low, high] = [values[below] ?? 0, values[Math.min(below + 1, last)] ?? 0];
  return low + (high - low) * (place - below);
}

/** Noise levels of Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", equation 5, with ρ = 7. */
export function karrasSigmas(sigmaMin: number, sigmaMax: number, steps: number): Float64Array {
  const rho = 7;
  const [low, high] = [sigmaMin ** (1 / rho), sigmaMax ** (1 / rho)];
  return Float64Array.from({ length: steps }, (_, index) => (high + (steps > 1 ? index / (steps - 1) : 0) * (low - high)) ** rho);
}

/** Noise levels whose logarithms are equally far apart. */
export function exponentialSigmas(sigmaMin: number, sigmaMax: number, steps: number): Float64Array {
  const [low, high] = [Math.log(sigmaMin), Math.log(sigmaMax)];
  return Float64Array.from({ length: steps }, (_, index) => Math.exp(high + (steps > 1 ? index / (steps - 1) : 0) * (low - high)));
}

/** The (fractional) training timestep of a noise level, linear in log σ. */
export function timestepOfSigma(sigma: number, sigmas: Float32Array): number {
  const target = Math.log(Math.max(sigma, 1e-10));
  const logs = sigmas.map(Math.log);
  const reached = logs.findLastIndex((value) => target >= value);
  const low = Math.min(Math.max(reached, 0), logs.length - 2);
  const [from, to] = [logs[low] ?? 0, logs[low + 1] ?? 0];
  const weight = Math.min(Math.max((from - target) / round(from - to), 0), 1);
  return (1 - weight) * low + weight * (low + 1);
}

export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}
