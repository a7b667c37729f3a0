/** Statistics of a benchmark's latencies. */
import { quantile } from '../observe/index.js';

export interface LatencySummary {
  /** Mean of what remains when the fastest and the slowest `ignoreRatio / 2` are dropped. */
  readonly trimmedMeanSeconds: number;
  readonly medianSeconds: number;
  readonly p95Seconds: number;
  readonly minSeconds: number;
  readonly maxSeconds: number;
  /** How many latencies the trimmed mean is taken over. */
  readonly counted: number;
}

export function summarizeLatencies(seconds: readonly number[], ignoreRatio: number): LatencySummary {
  const sorted = [...seconds].sort((a, b) => a - b);
  const dropped = Math.floor((ignoreRatio * sorted.length) / 2);
  const kept = sorted.slice(dropped, sorted.length - dropped);
  return {
    trimmedMeanSeconds: kept.reduce((sum, value) => sum + value, 0) / kept.length,
    medianSeconds: quantile(sorted, 0.5),
    p95Seconds: quantile(sorted, 0.95),
    minSeconds: sorted[0] ?? Number.NaN,
    maxSeconds: sorted.at(-1) ?? Number.NaN,
    counted: kept.length,
  };
}
