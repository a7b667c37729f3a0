/** What becomes of jobs: decisions, and the loop that carries them out. */
export type { Log, LogLevel } from './log.js';
export { Operator, type OperatorOptions } from './operator.js';
