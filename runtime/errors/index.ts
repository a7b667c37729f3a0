/**
 * The runtime's errors: one base class, one catalogue of stable codes, and the exit code each code ends a process with.
 *
 * A message says what failed, the values seen and what to do. `fields` carries the same facts for logs, the status and the
 * launcher; errors cross worker threads and processes as {@link SerializedError}, never as a string.
 */
export { printable } from './printable.js';

/**
 * Process exit codes. Everything below 64 must not be retried unchanged; 75 (EX_TEMPFAIL of sysexits.h) may be.
 * 128 + signal is used when a signal ended the process, as shells do.
 */
export const ExitCode = {
  success: 0,
  /** A defect of this program. */
  internal: 1,
  /** The command line, the job, the prompt or the model is not acceptable: fix it, do not retry. */
  invalidInput: 2,
  /** The machine cannot hold or run the job (memory, missing library, unwritable output): change it, do not retry. */
  environment: 3,
  /** The result failed its own check (NaN, flat image): the same input gives the same result. */
  badResult: 4,
  /** A peer, the network or the coordinator failed: a new attempt may succeed. */
  retriable: 75,
  interrupted: 130,
  terminated: 143,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Every error code of the runtime, with the exit code it ends a process with. */
export const errorCatalogue = {
  USAGE: ExitCode.invalidInput,
  JOB_INVALID: ExitCode.invalidInput,
  MODEL_NOT_FOUND: ExitCode.invalidInput,
  MODEL_UNSUPPORTED: ExitCode.invalidInput,
  WEIGHTS_INVALID: ExitCode.invalidInput,
  TOKENIZER_INVALID: ExitCode.invalidInput,
  SIZE_INVALID: ExitCode.invalidInput,
  MESH_INVALID: ExitCode.invalidInput,
  GRAPH_INVALID: ExitCode.internal,
  INTERNAL: ExitCode.internal,
  MEMORY_INSUFFICIENT: ExitCode.environment,
  /** No more files, sockets and pipes may be open at once. */
  OPEN_FILES_EXHAUSTED: ExitCode.environment,
  OUTPUT_UNWRITABLE: ExitCode.environment,
  /** The address or port for metrics is somebody's choice: another one must be chosen. */
  METRICS_UNAVAILABLE: ExitCode.environment,
  BACKEND_UNAVAILABLE: ExitCode.environment,
  /** No NVIDIA driver, device, library or function of the kind that is needed. */
  CUDA_UNAVAILABLE: ExitCode.environment,
  CUDA_OUT_OF_MEMORY: ExitCode.environment,
  /** A device, or the link to a peer's, is in a state that only a new process leaves. */
  CUDA_FAILED: ExitCode.retriable,
  ENGINE_BUILD_FAILED: ExitCode.environment,
  ENGINE_CACHE_UNWRITABLE: ExitCode.environment,
  ENGINE_RUN_FAILED: ExitCode.retriable,
  IMAGE_NOT_FINITE: ExitCode.badResult,
  IMAGE_FLAT: ExitCode.badResult,
  /** `sdxl verify` found a difference. */
  IMAGE_DIFFERS: ExitCode.badResult,
  RENDEZVOUS_TIMEOUT: ExitCode.retriable,
  RENDEZVOUS_MISMATCH: ExitCode.invalidInput,
  /** The gang has formed without this process: only a new attempt can take it in. */
  RENDEZVOUS_REFUSED: ExitCode.retriable,
  UNAUTHENTICATED: ExitCode.invalidInput,
  PEER_LOST: ExitCode.retriable,
  PEER_ABORTED: ExitCode.retriable,
  PROTOCOL_VIOLATION: ExitCode.retriable,
  COLLECTIVE_TIMEOUT: ExitCode.retriable,
  RANK_HUNG: ExitCode.retriable,
  RANK_EXITED: ExitCode.retriable,
  ADDRESS_UNAVAILABLE: ExitCode.retriable,
  CANCELLED: ExitCode.terminated,
} as const satisfies Record<string, ExitCode>;
export type ErrorCode = keyof typeof errorCatalogue;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code);
}

export type ErrorFields = Readonly<Record<string, string | number | boolean | readonly (string | number)[]>>;

/** The form in which an error crosses a thread, a process or the wire. */
export interface SerializedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly fields: ErrorFields;
  readonly cause?: string;
  readonly stack?: string;
}

/** An error of the outside world: typed by `code`, with the facts in `fields`. Defects are plain `Error`s. */
export class SdxlError extends Error {
  override readonly name = 'SdxlError';
  readonly code: ErrorCode;
  readonly fields: ErrorFields;

  constructor(code: ErrorCode, message: string, options: { fields?: ErrorFields; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fields = options.fields ?? {};
  }

  /**
   * The catalogue's, but for PEER_ABORTED: when the cause on the other rank must not be retried unchanged (below 64), this
   * rank ends with the same code, so that whichever rank of the gang is asked first tells the same.
   */
  get exitCode(): ExitCode {
    const own = errorCatalogue[this.code];
    if (this.code !== 'PEER_ABORTED') return own;
    const cause = this.fields['causeCode'];
    const inherited = typeof cause === 'string' && isErrorCode(cause) ? errorCatalogue[cause] : own;
    return inherited < ExitCode.retriable ? inherited : own;
  }

  /** Whether a new attempt with the same input may succeed. */
  get retriable(): boolean {
    return this.exitCode === ExitCode.retriable;
  }

  toJSON(): SerializedError {
    const base = { code: this.code, message: this.message, fields: this.fields };
    return {
      ...base,
      ...(this.cause === undefined ? {} : { cause: describeCause(this.cause) }),
      ...(this.stack === undefined ? {} : { stack: this.stack }),
    };
  }

  static fromJSON(error: SerializedError): SdxlError {
    const revived = new SdxlError(error.code, error.message, {
      fields: error.fields,
      ...(error.cause === undefined ? {} : { cause: error.cause }),
    });
    if (error.stack !== undefined) revived.stack = error.stack;
    return revived;
  }
}

/** Turns whatever was thrown into an {@link SdxlError}; what is not one already is a defect (`INTERNAL`). */
export function toSdxlError(thrown: unknown): SdxlError {
  // What was closed on the way out failed too: the first failure is the reason.
  if (thrown instanceof Error && thrown.name === 'SuppressedError' && 'suppressed' in thrown) return toSdxlError(thrown.suppressed);
  if (thrown instanceof SdxlError) return thrown;
  if (thrown instanceof Error && 'syscall' in thrown && thrown.syscall === 'uv_cwd') {
    return new SdxlError('USAGE', `the working directory is not there any more (${thrown.message}): change to another`, { cause: thrown });
  }
  if (thrown instanceof Error && 'code' in thrown && (thrown.code === 'EMFILE' || thrown.code === 'ENFILE')) {
    const advice = 'raise the limit on open files (ulimit -n) to 1024 or more, or run fewer ranks here';
    return new SdxlError('OPEN_FILES_EXHAUSTED', `${thrown.message}: ${advice}`, { cause: thrown });
  }
  const error = new SdxlError('INTERNAL', describeCause(thrown), { cause: thrown });
  if (thrown instanceof Error && thrown.stack !== undefined) error.stack = thrown.stack;
  return error;
}

function describeCause(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
