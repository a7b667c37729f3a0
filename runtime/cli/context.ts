/** What every command is given: the environment, the streams to write to, and the signals to end by. */
import type { Environment } from '../launch/index.js';

export interface Context {
  readonly environment: Environment;
  /** Results. */
  readonly stdout: NodeJS.WriteStream;
  /** Progress, logs and errors. */
  readonly stderr: NodeJS.WriteStream;
  readonly stop: AbortSignal;
  readonly kill: AbortSignal;
}
