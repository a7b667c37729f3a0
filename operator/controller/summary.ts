/** What a gang that succeeded says of itself in rank 0's termination message (docs/cli.md): short jobs are over before anybody asks. */
import { rankContainer, type JobProgress } from '../api/index.js';
import type { GangPod } from './observed.js';
import { isDuration, parseObject } from './words.js';

export interface RunSummary {
  readonly progress: Pick<JobProgress, 'latencyP50' | 'latencyP95'>;
  /** Seconds from prompt to file of each image written, where there are not too many. */
  readonly latencies: readonly number[];
}

export function summaryOf(pod: GangPod | undefined): RunSummary | undefined {
  const message = pod?.containers.find(({ name }) => name === rankContainer)?.terminated?.message ?? '';
  const { latencySeconds, samples } = parseObject(message) ?? {};
  if (typeof latencySeconds !== 'object' || latencySeconds === null) return undefined;
  const { p50, p95 } = latencySeconds as { readonly p50?: unknown; readonly p95?: unknown };
  return {
    progress: latencies(p50, p95),
    latencies: Array.isArray(samples) ? samples.filter(isDuration) : [],
  };
}

/** As the status shows them. */
export function latencies(p50: unknown, p95: unknown): Pick<JobProgress, 'latencyP50' | 'latencyP95'> {
  return {
    ...(isDuration(p50) ? { latencyP50: `${p50.toFixed(3)}s` } : {}),
    ...(isDuration(p95) ? { latencyP95: `${p95.toFixed(3)}s` } : {}),
  };
}
