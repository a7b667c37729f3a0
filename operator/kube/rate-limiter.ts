/** How many API calls are made: a token bucket, shut for a while where the server asks for it. First come, first served. */
import { setTimeout as delay } from 'node:timers/promises';

export class RateLimiter {
  readonly #intervalMs: number;
  readonly #burstMs: number;
  /** When the next token is due; behind now by as much as may be spent at once. */
  #nextAt = -Infinity;
  #shutUntil = 0;

  constructor(perSecond: number, burst: number) {
    this.#intervalMs = 1000 / perSecond;
    this.#burstMs = burst * this.#intervalMs;
  }

  /** Resolves when the call may be made. */
  async acquire(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const waitMs = this.#take();
    if (waitMs > 0) await delay(waitMs, undefined, { signal });
  }

  /** Whether half of the bucket is full: what can be left out is, until then. */
  get hasRoom(): boolean {
    const now = performance.now();
    return now >= this.#shutUntil && this.#nextAt <= now - this.#burstMs / 2;
  }

  /** The server is overloaded: nobody calls before `ms` have passed. */
  shut(ms: number): void {
    this.#shutUntil = Math.max(this.#shutUntil, performance.now() + ms);
  }

  #take(): number {
    const now = performance.now();
    this.#nextAt = Math.max(this.#nextAt, now - this.#burstMs) + this.#intervalMs;
    return Math.max(this.#nextAt, this.#shutUntil) - now;
  }
}
