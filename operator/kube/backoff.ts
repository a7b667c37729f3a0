/** Waits that grow: doubled each time up to a limit, with jitter so that many who fail together don't come back together. */

export interface BackoffLimits {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Wait before the try after `failures` failures: between half of the doubled time and all of it. */
export function backoffMs(failures: number, { firstMs, maxMs }: BackoffLimits): number {
  const fullMs = Math.min(maxMs, firstMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return fullMs * (0.5 + Math.random() / 2);
}
