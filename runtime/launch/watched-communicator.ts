/** A communicator that also tells what its rank waits for, so that of several ranks that stand still the one at fault is found. */
import type { Communicator, Exchange } from '../collectives/index.js';
import { clockMicros } from '../engine/index.js';
import type { SdxlError } from '../errors/index.js';
import { reportOperation } from '../pipeline/index.js';

export class WatchedCommunicator implements Communicator {
  readonly #inner: Communicator;
  readonly #onExchange: ((exchange: Exchange, start: number, end: number) => void) | undefined;
  readonly #waiting: string[] = [];

  /** `onExchange` is told of each that is complete, with the clock's microseconds of both ends. */
  constructor(inner: Communicator, onExchange?: (exchange: Exchange, start: number, end: number) => void) {
    this.#inner = inner;
    this.#onExchange = onExchange;
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

  async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    // Rank 0 always listens for these, whatever it does itself.
    if (exchange.operation === reportOperation) {
      await this.#inner.exchange(exchange, signal);
      return;
    }
    const start = this.#onExchange === undefined ? 0 : clockMicros();
    await this.#watch(`${exchange.operation}#${String(exchange.tag)}`, this.#inner.exchange(exchange, signal));
    this.#onExchange?.(exchange, start, clockMicros());
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
