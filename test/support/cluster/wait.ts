/** Waiting in tests: always with a deadline, and with what is known when it passes. */
import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  /** Default: 60 s, generous for a slow and busy machine. */
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  /** Asked once the deadline has passed; what it says ends the error's message. */
  readonly context?: () => string | Promise<string>;
}

const patienceMs = 60_000;

/**
 * Polls until there is a value. A poll that throws counts as none; the last error is told when the deadline passes. An `AssertionError`
 * counts too, so `poll` may state what it waits for as assertions.
 */
export async function waitFor<T>(what: string, poll: () => T | undefined | Promise<T | undefined>, options: WaitOptions = {}): Promise<T> {
  const timeoutMs = options.timeoutMs ?? patienceMs;
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await poll();
      if (value !== undefined) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      const context = (await options.context?.()) ?? '';
      throw new Error(`no ${what} within ${String(timeoutMs)} ms${context === '' ? '' : `\n${context}`}`, { cause: last });
    }
    await delay(options.intervalMs ?? 50);
  }
}
