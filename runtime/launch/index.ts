/**
 * The composition root: reads the environment and the machine's limits, picks backend and communicator, starts and watches the processes
 * of a gang and says who was to blame when it fails. The only place, with cli/, that touches signals, exits and the environment; knows
 * no tensors and no terminal.
 */
export { explainMesh } from './auto-mesh.js';
export { resolveBackend } from './backend.js';
export { localJob, type LocalJob, type LocalSpec } from './cluster-fields.js';
export { captureStages, type CaptureOptions } from './capture.js';
export { readBudget, threadsPerRank, type Budget } from './budget.js';
export { readEnvironment, terminationLogPath, type Environment } from './environment.js';
export { jobName, launch, openModel, type LaunchFacts, type LaunchObserver, type LaunchOptions } from './launch.js';
export { meshOf, patchTimingOf, stepsOfImages, toJobRequest } from './job-request.js';
export { formatBytes } from './memory-check.js';
export type { RankMessage, Task } from './messages.js';
export { writeRunSummary, writeTerminationLog } from './termination-log.js';
