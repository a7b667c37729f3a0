/** The frequencies of sinusoidal embeddings, constants of a lowered graph. */

/**
 * `[dim / 2]`: exp(−ln(maxPeriod)·i/(dim/2 − shift)), rounded to fp32 after each operation as in torch 2.11.0 (get_timestep_embedding of diffusers
 * 0.42.1, models/embeddings.py). A rounding left out moves frequencies by up to 8 units in the last place, and angles by 1000 times that.
 */
export function sinusoidFrequencies(dim: number, shift: number, maxPeriod: number): number[] {
  const half = dim / 2;
  const rate = Math.fround(-Math.log(maxPeriod));
  return Array.from({ length: half }, (_, index) => Math.fround(Math.exp(Math.fround(Math.fround(rate * index) / (half - shift)))));
}
