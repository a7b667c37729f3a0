/** A communicator that also tells what its rank waits for, so that of several ranks that stand still the one at fault is found. */
import type { Communicator, Exchange } from '../collectives/index.js';
import type { SdxlError } from '../errors/index.js';

export class WatchedCommunicator implements Communicator {
  readonly #inner: Communicator;
  readonly #waiting: string[] = [];

  constructor(inner: Communicator) {
    this.#inner = inner;
  }

  get rank(): number {
    return this.#inner.rank;
  }

  get worldSize(): number {
    return this.#inner.worldSize;
  }

  get failed(): AbortSignal {
    return this.#inner.failed;
  }

  /** The oldest call that has not completed; undefined: none. */
  get waitingFor(): string | undefined {
    return this.#waiting[0];
  }

  exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    return this.#watch(`${exchange.operation}#${String(exchange.tag)}`, this.#inner.exchange(exchange, signal));
  }

  barrier(signal?: AbortSignal): Promise<void> {
    return this.#watch('barrier', this.#inner.barrier(signal));
  }

  abort(error: SdxlError): Promise<void> {
    return this.#inner.abort(error);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #watch(what: string, call: Promise<void>): Promise<void> {
    this.#waiting.push(what);
    try {
      await call;
    } finally {
      this.#waiting.splice(this.#waiting.indexOf(what), 1);
    }
  }
}
