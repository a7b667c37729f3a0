/** The images of a job that are still to be made. Rank 0 holds it; whoever is free takes the next. Knows neither ranks nor messages. */
export class ImageQueue {
  readonly #left: number[] = [];
  readonly #making = new Set<number>();
  readonly #waiting = new Set<() => void>();
  #complete = false;

  add(image: number): void {
    this.#left.push(image);
    this.stir();
  }

  /** Nothing is added any more. */
  close(): void {
    this.#complete = true;
    this.stir();
  }

  /** The next image, in the order in which they were added; undefined: none is left at the moment. */
  take(): number | undefined {
    const image = this.#left.shift();
    if (image !== undefined) this.#making.add(image);
    return image;
  }

  /** An image that was taken is on disk. */
  done(image: number): void {
    if (!this.#making.delete(image)) throw new Error(`image ${String(image)} is done, and nobody took it`);
    this.stir();
  }

  /** Whether every image is made: nothing is left, nothing is under way, nothing will be added. */
  isOver(): boolean {
    return this.#complete && this.#left.length === 0 && this.#making.size === 0;
  }

  /** Something has got on: whoever waits hears of it, and so knows that the others live. */
  stir(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves at the next {@link stir}; rejects with the signal's reason. */
  stirred(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiting.delete(wake);
        signal?.removeEventListener('abort', refuse);
      };
      const wake = (): void => {
        end();
        resolve();
      };
      const refuse = (): void => {
        end();
        reject(signal?.reason instanceof Error ? signal.reason : new Error('stopped'));
      };
      if (signal?.aborted === true) {
        refuse();
        return;
      }
      this.#waiting.add(wake);
      signal?.addEventListener('abort', refuse);
    });
  }
}
