/** Classifier-free guidance: from the predictions of both branches to one. */
import type { Tensor } from '../tensor/index.js';

export interface Guidance {
  readonly scale: number;
  /** From 0 to 1; 0 leaves guided predictions as they are. */
  readonly rescale: number;
}

/**
 * `[2, …]`, the unconditional branch first → unconditional + scale·(conditional − unconditional), rounded after each operation as float32
 * tensors are (Ho and Salimans 2022), then scaled back (Lin et al. 2023, section 3.4).
 */
export function guide(branches: Tensor<'f32'>, { scale, rescale }: Guidance): Float32Array {
  const half = branches.data.length / 2;
  const [unconditional, conditional] = [branches.data.subarray(0, half), branches.data.subarray(half)];
  const factor = Math.fround(scale);
  const guided = Float32Array.from({ length: half }, (_, index) => {
    const base = unconditional[index] ?? 0;
    const difference = Math.fround((conditional[index] ?? 0) - base);
    return base + Math.fround(factor * difference);
  });
  if (rescale === 0) return guided;
  // Scaled wholly to the conditional prediction's spread images look plain: a mixture of both, which is one factor.
  const share = rescale * (standardDeviation(conditional) / standardDeviation(guided)) + (1 - rescale);
  return guided.map((value) => value * share);
}

/** Over all elements, with n − 1 as torch's `std` has. */
function standardDeviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}
