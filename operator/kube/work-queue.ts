/**
 * Keys that wait to be worked on. A key stands in the queue once however often it is added, and is never worked on twice at a time: added while
 * it is, it comes again afterwards. Failures of one key wait longer and longer; others pass it by.
 */
import { backoffMs, type BackoffLimits } from './backoff.js';

export interface WorkQueueOptions {
  readonly backoff?: BackoffLimits;
  /** A key left the queue after so long. */
  readonly onWaited?: (seconds: number) => void;
}

interface Timer {
  readonly at: number;
  readonly handle: NodeJS.Timeout;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  /** Keys to be worked on, in order, with the time they came. */
  readonly #waiting = new Map<string, number>();
  readonly #working = new Set<string>();
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, Timer>();
  readonly #takers: (() => void)[] = [];
  #shut = false;

  constructor(options: WorkQueueOptions = {}) {
    this.#options = options;
  }

  /** Keys that wait, those that wait for their time excepted. */
  get depth(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    if (this.#shut || this.#waiting.has(key)) return;
    if (this.#working.has(key)) {
      this.#again.add(key);
      return;
    }
    this.#waiting.set(key, performance.now());
    this.#takers.shift()?.();
  }

  /** Adds the key in `ms`; where it is due earlier already, nothing changes. */
  addAfter(key: string, ms: number): void {
    if (this.#shut) return;
    const at = performance.now() + ms;
    const timer = this.#timers.get(key);
    if (timer !== undefined && timer.at <= at) return;
    if (timer !== undefined) clearTimeout(timer.handle);
    const fire = (): void => {
      this.#timers.delete(key);
      this.add(key);
    };
    // Node's longest timer is 2^31 - 1 ms.
    this.#timers.set(key, { at, handle: setTimeout(fire, Math.min(ms, 0x7fff_ffff)) });
  }

  /** Adds the key after a wait that grows with each failure since it was last forgiven; with limits of its own where a failure has them. */
  addFailed(key: string, limits: BackoffLimits = this.#options.backoff ?? { firstMs: 25, maxMs: 60_000 }): void {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    this.addAfter(key, backoffMs(failures, limits));
  }

  /** The key's failures count no more. */
  forgive(key: string): void {
    this.#failures.delete(key);
  }

  /** The key is gone for good: nothing is remembered of it. */
  forget(key: string): void {
    this.#failures.delete(key);
    const timer = this.#timers.get(key);
    if (timer !== undefined) clearTimeout(timer.handle);
    this.#timers.delete(key);
  }

  /** Works on keys, `concurrency` at a time, until the signal aborts; resolves when the work in hand is done. `work` must not reject. */
  async run(concurrency: number, work: (key: string) => Promise<void>, signal: AbortSignal): Promise<void> {
    const wake = (): void => {
      for (const taker of this.#takers.splice(0)) taker();
    };
    signal.addEventListener('abort', wake, { once: true });
    const lane = async (): Promise<void> => {
      for (;;) {
        const key = await this.#take(signal);
        if (key === undefined) return;
        try {
          await work(key);
        } finally {
          this.#done(key);
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: concurrency }, lane));
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  /** Takes no more keys and forgets those that wait. */
  close(): void {
    this.#shut = true;
    this.clear();
  }

  /** Forgets the keys that wait, and those that wait for their time. */
  clear(): void {
    this.#waiting.clear();
    for (const { handle } of this.#timers.values()) clearTimeout(handle);
    this.#timers.clear();
  }

  async #take(signal: AbortSignal): Promise<string | undefined> {
    while (!signal.aborted) {
      for (const [key, since] of this.#waiting) {
        this.#waiting.delete(key);
        this.#working.add(key);
        this.#options.onWaited?.((performance.now() - since) / 1000);
        return key;
      }
      await new Promise<void>((resolve) => this.#takers.push(resolve));
    }
    return undefined;
  }

  #done(key: string): void {
    this.#working.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }
}
