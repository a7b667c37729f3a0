/** A point in a stream's work, for time stamps and for waiting without holding up the event loop. */
import { setImmediate, setTimeout } from 'node:timers/promises';
import { SdxlError } from '../../../errors/index.js';
import { cuErrorNotReady } from './driver-functions.js';
import type { Driver } from './driver.js';
import { check } from './status.js';
import type { Stream } from './stream.js';

/** Polled in every turn of the event loop at first, so that short work is answered at once; then every millisecond. */
const eagerMs = 3;

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /** After so long the wait rejects with CUDA_FAILED: the device is taken for hung. */
  readonly timeoutMs?: number;
}

export class Event implements Disposable {
  readonly handle: bigint;
  readonly #driver: Driver;
  #open = true;

  constructor(driver: Driver, timing: boolean) {
    this.#driver = driver;
    const handle = new BigUint64Array(1);
    const disableTiming = 2;
    driver.call.cuEventCreate(handle, timing ? 0 : disableTiming);
    this.handle = handle[0] ?? 0n;
  }

  record(stream: Stream): void {
    this.#driver.call.cuEventRecord(this.handle, stream.handle);
  }

  /** Whether everything before the last record is done. @throws SdxlError CUDA_FAILED where the device failed meanwhile. */
  query(): boolean {
    const status = this.#driver.unchecked.cuEventQuery(this.handle);
    if (status === cuErrorNotReady) return false;
    check(this.#driver.codes, 'cuEventQuery', status);
    return true;
  }

  /** Resolves when {@link query} would be true; the event loop goes on meanwhile. Rejects with the signal's reason. */
  async done(options: WaitOptions = {}): Promise<void> {
    const began = performance.now();
    for (;;) {
      options.signal?.throwIfAborted();
      if (this.query()) return;
      const waitedMs = performance.now() - began;
      if (options.timeoutMs !== undefined && waitedMs > options.timeoutMs) {
        throw new SdxlError('CUDA_FAILED', `the device has not finished after ${(waitedMs / 1000).toFixed(1)} s: it is taken for hung`, {
          fields: { timeoutMs: options.timeoutMs },
        });
      }
      if (waitedMs < eagerMs) await setImmediate();
      else await setTimeout(1);
    }
  }

  /** Blocks the thread. */
  synchronize(): void {
    this.#driver.call.cuEventSynchronize(this.handle);
  }

  /** Milliseconds between two finished events with timing. */
  elapsedMs(since: Event): number {
    const elapsed = new Float32Array(1);
    this.#driver.call.cuEventElapsedTime(elapsed, since.handle, this.handle);
    return elapsed[0] ?? 0;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuEventDestroy_v2(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
