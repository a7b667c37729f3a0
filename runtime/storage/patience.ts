/** Tries again what may succeed later: waits that double, with a deadline that starts anew whenever something has come through. */
import { setTimeout as delay } from 'node:timers/promises';

export interface Patience {
  /** How long in all without progress. 0: one attempt. */
  readonly deadlineMs: number;
  /** Told before each wait. */
  readonly onRetry: (error: Error, waitMs: number) => void;
}

const firstWaitMs = 250;
const longestWaitMs = 10_000;

/**
 * The result of the first attempt that succeeds. `attempt` calls `progressed` when it has got on. Rejects with the last error once the deadline
 * leaves no time for another attempt, with any error that `isPassing` does not hold for, or with the signal's reason.
 */
export async function withPatience<T>(
  attempt: (progressed: () => void) => Promise<T>,
  isPassing: (error: unknown) => boolean,
  { deadlineMs, onRetry }: Patience,
  signal: AbortSignal | undefined,
): Promise<T> {
  let since = performance.now();
  let waitMs = firstWaitMs;
  const progressed = (): void => {
    since = performance.now();
    waitMs = firstWaitMs;
  };
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await attempt(progressed);
    } catch (error) {
      signal?.throwIfAborted();
      // Clients that were turned away together shall not come back together.
      const wait = Math.round(waitMs * (0.5 + Math.random() / 2));
      if (!(error instanceof Error) || !isPassing(error) || performance.now() - since + wait > deadlineMs) throw error;
      onRetry(error, wait);
      await delay(wait, undefined, signal === undefined ? {} : { signal }).catch((reason: unknown) => {
        throw signal?.reason ?? reason;
      });
      waitMs = Math.min(2 * waitMs, longestWaitMs);
    }
  }
}
