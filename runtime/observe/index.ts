/**
 * What people and machines see of a run: logs, metrics, the status and the HTTP server that shows them. Told what happens in plain
 * numbers and names; knows neither pipelines nor processes nor the command line.
 */
export { aggregateMetrics } from './aggregate.js';
export { createLog, logFormats, logLevels, type Log, type LogFields, type LogFormat, type LogLevel } from './logger.js';
export { RankMetrics, type MetricsSnapshot } from './rank-metrics.js';
export { TraceFile, type TraceSpan } from './trace-file.js';
export { ObservationServer } from './server.js';
export { quantile, StatusTracker, summarizeSeconds, type RankPhase, type Status } from './status.js';
export { JobProgress } from './job-progress.js';
