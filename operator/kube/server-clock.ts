/**
 * The API server's time, by the `Date` of its answers. Times in objects are mostly the server's and its controllers': beside a clock that is minutes
 * ahead of them a pod that was just deleted would have been lost for long.
 */

/** A `Date` has whole seconds, and an answer is read a little after it was given: within this the clocks are taken to agree. */
const toleranceMs = 3_000;

export class ServerClock {
  #aheadMs = 0;

  /** Milliseconds by which the server's clock is ahead of this process's; 0 where they agree. */
  get aheadMs(): number {
    return this.#aheadMs;
  }

  now(): Date {
    return new Date(Date.now() + this.#aheadMs);
  }

  /** @param date of an answer that has just come */
  heard(date: string | undefined): void {
    const aheadMs = Date.parse(date ?? '') - Date.now();
    // Kept while it is about right, so that time does not jump with each answer.
    if (Number.isNaN(aheadMs) || Math.abs(aheadMs - this.#aheadMs) <= toleranceMs) return;
    this.#aheadMs = Math.abs(aheadMs) <= toleranceMs ? 0 : aheadMs;
  }
}
