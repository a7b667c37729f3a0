/** A place to wait until something holds: whoever changes the state calls `notify`. */
export class Condition {
  readonly #waiting = new Set<() => void>();

  notify(): void {
    for (const check of [...this.#waiting]) check();
  }

  /** Resolves with true once `holds()`, with false when `timeoutMs` have passed. */
  until(holds: () => boolean, timeoutMs: number): Promise<boolean> {
    if (holds()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (held: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve(held);
      };
      const check = (): void => {
        if (holds()) finish(true);
      };
      const timer = setTimeout(finish, timeoutMs, false);
      this.#waiting.add(check);
    });
  }
}

/** What `work` comes to, or, if it comes first, the signal's reason as a rejection; `work` itself goes on. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', stop);
  });
  try {
    signal.throwIfAborted();
    return await Promise.race([work, aborted]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
  }
}
