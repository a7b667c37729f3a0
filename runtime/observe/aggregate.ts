/** One exposition of several ranks' metrics: each series keeps its `rank` label, so nothing is added up that differs. */
import { AggregatorRegistry, Registry } from 'prom-client';
import type { MetricsSnapshot } from './rank-metrics.js';

/** Prometheus text format 0.0.4. */
export async function aggregateMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  if (snapshots.length === 0) return '';
  // The snapshots are read only, but typed as mutable arrays there.
  return AggregatorRegistry.aggregate(snapshots.map((snapshot) => [...snapshot])).metrics();
}

export const metricsContentType: string = Registry.PROMETHEUS_CONTENT_TYPE;
