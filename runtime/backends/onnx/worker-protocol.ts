/** What the main thread and the ONNX worker say to each other. */
import type { SerializedError } from '../../errors/index.js';
import type { RunSpan, RunTiming } from '../../engine/index.js';
import type { Displacement } from '../../graph/index.js';
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

/** Control words, and the area payloads are exchanged in. */
export interface SharedMemory {
  readonly control: SharedArrayBuffer;
  readonly payload: SharedArrayBuffer;
}

export interface RunRequest {
  readonly kind: 'run';
  readonly id: number;
  readonly executor: number;
  /** Given when the sizes changed since the executor's last run, with the memory its exchanges are made in. */
  readonly schedule?: Schedule;
  readonly shared?: SharedMemory;
  /** Only inputs that changed since the last run. */
  readonly inputs: readonly WireTensor[];
  /** Absent: every exchange is fresh. */
  readonly displaced?: { readonly displacement: Displacement; readonly last: boolean };
  /** Whether the reply shall say what was done when. */
  readonly traced: boolean;
}

export interface UnloadRequest {
  readonly kind: 'unload';
  readonly id: number;
  readonly executor: number;
}

export type WorkerRequest = LoadRequest | RunRequest | UnloadRequest;

export type WorkerReply =
  | { readonly kind: 'done'; readonly id: number }
  | {
      readonly kind: 'ran';
      readonly id: number;
      readonly outputs: readonly WireTensor[];
      readonly timing: RunTiming;
      /** Empty unless asked for. */
      readonly spans: readonly RunSpan[];
    }
  | { readonly kind: 'failed'; readonly id: number; readonly error: SerializedError };

/**
 * Control words. The worker writes the tag of an exchange into the ring of requests and raises `requested`; the main thread, woken
 * by Atomics.waitAsync, lets the communicator move the bytes and raises the exchange's own word of completions, on which the worker
 * sleeps when, and only when, it needs what arrives. A hand-over costs a few microseconds, against some ninety for a pair of messages.
 */
export const control = { requested: 0, failed: 1, ring: 2 } as const;
/** In the ring when the run has ended. */
export const noMoreExchanges = -1;

/** Of each exchange at most one request is unseen, and one that says that the run has ended. */
export function ringWord(request: number, exchanges: number): number {
  return control.ring + (request % (exchanges + 1));
}

export function completedWord(tag: number, exchanges: number): number {
  return control.ring + exchanges + 1 + tag;
}

export function controlWords(exchanges: number): number {
  return completedWord(exchanges, exchanges);
}
