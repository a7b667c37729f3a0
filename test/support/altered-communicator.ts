/** A communicator that passes everything on to another, for tests that change one thing on the way. */
import type { Communicator, Exchange } from '../../runtime/collectives/index.js';

export class AlteredCommunicator implements Communicator {
  readonly rank: number;
  readonly worldSize: number;
  readonly failed: AbortSignal;
  readonly #inner: Communicator;

  constructor(inner: Communicator) {
    this.rank = inner.rank;
    this.worldSize = inner.worldSize;
    this.failed = inner.failed;
    this.#inner = inner;
  }

  exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    return this.#inner.exchange(exchange, signal);
  }

  barrier(signal?: AbortSignal): Promise<void> {
    return this.#inner.barrier(signal);
  }

  abort(error: Parameters<Communicator['abort']>[0]): Promise<void> {
    return this.#inner.abort(error);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
