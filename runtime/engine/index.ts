/**
 * Engines: what lies between a graph and a backend that runs it. Partition into segments and exchanges, symbol binding, the
 * engine cache, and the interfaces every backend implements. Knows no backend and no model.
 */
export { digest, EngineCache, engineKey } from './cache.js';
export type {
  Backend,
  Component,
  DisplacedRuns,
  DenoiseResult,
  DenoiseTask,
  Engine,
  Executor,
  InputRate,
  RunKind,
  RunResult,
  RunTiming,
} from './executor.js';
export { joinMoments, type MomentsPlace } from './join-moments.js';
export { partition, valueName, type Plan, type PlanStep } from './partition.js';
export { clockMicros, timed, type RunSpan } from './run-span.js';
export { bindSymbols } from './symbols.js';
