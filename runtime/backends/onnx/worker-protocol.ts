/** What the main thread and the ONNX worker say to each other. */
import type { SerializedError } from '../../errors/index.js';
import type { RunTiming } from '../../engine/index.js';
import type { DType, DTypeArrays, Shape } from '../../tensor/index.js';
import type { Schedule } from './schedule.js';

/** A tensor as it crosses threads. */
export interface WireTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: DTypeArrays[DType];
}

export interface LoadRequest {
  readonly kind: 'load';
  readonly id: number;
  readonly executor: number;
  readonly name: string;
  readonly models: readonly Uint8Array[];
  /** Folder the models' external weights lie in. */
  readonly weightsDirectory: string;
  readonly threads: number;
}

export interface RunRequest {
  readonly kind: 'run';
  readonly id: number;
  readonly executor: number;
  /** Given when the sizes changed since the executor's last run. */
  readonly schedule?: Schedule;
  /** Only inputs that changed since the last run. */
  readonly inputs: readonly WireTensor[];
  /** Control words and the area payloads are exchanged in; absent where the plan has no exchanges. */
  readonly shared?: { readonly control: SharedArrayBuffer; readonly payload: SharedArrayBuffer };
}

export interface UnloadRequest {
  readonly kind: 'unload';
  readonly id: number;
  readonly executor: number;
}

export type WorkerRequest = LoadRequest | RunRequest | UnloadRequest;

export type WorkerReply =
  | { readonly kind: 'done'; readonly id: number }
  | { readonly kind: 'ran'; readonly id: number; readonly outputs: readonly WireTensor[]; readonly timing: RunTiming }
  | { readonly kind: 'failed'; readonly id: number; readonly error: SerializedError };

/**
 * Control words of an exchange. The worker stores the step's index, raises `requested` and sleeps on `completed`; the main
 * thread, woken by Atomics.waitAsync, lets the communicator move the bytes and raises `completed`. A hand-over costs a few
 * microseconds, against some ninety for a pair of messages.
 */
export const control = { requested: 0, step: 1, completed: 2, status: 3, words: 4 } as const;
/** `status` after an exchange. */
export const exchangeStatus = { ok: 0, failed: 1 } as const;
/** `step` when the run has ended and no exchange is asked for. */
export const noMoreExchanges = -1;
