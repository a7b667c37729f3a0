/**
 * The main thread's side of exchanges: starts what the worker asks for, in its order, and tells it of each that is complete. An
 * exchange may stay under way when the run that sent it has ended; if it fails then, the next run fails of it.
 */
import type { Communicator, Exchange, Message } from '../../collectives/communicator.js';
import type { Range, Schedule } from './schedule.js';
import { completedWord, control, controlWords, noMoreExchanges, ringWord, type SharedMemory } from './worker-protocol.js';

export class ExchangeServer {
  readonly shared: SharedMemory;
  readonly #communicator: Communicator;
  readonly #words: Int32Array;
  readonly #exchanges: readonly Exchange[];
  readonly #underWay = new Map<number, Promise<void>>();
  #handled = 0;
  #failure: { readonly reason: unknown } | undefined;
  #onFailure: () => void = () => undefined;

  /** `schedule` has exchanges. */
  constructor(schedule: Schedule, communicator: Communicator) {
    this.#communicator = communicator;
    const payload = new SharedArrayBuffer(Math.max(schedule.sharedBytes, 16));
    this.shared = { control: new SharedArrayBuffer(controlWords(schedule.exchanges) * Int32Array.BYTES_PER_ELEMENT), payload };
    this.#words = new Int32Array(this.shared.control);
    this.#exchanges = exchangesOf(schedule, payload);
  }

  /** Starts exchanges until the worker says that its run has ended, or until `ended`; rejects when one fails. */
  async serve(ended: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
    const words = this.#words;
    const interrupted = new Promise<'interrupted'>((resolve) => {
      this.#onFailure = (): void => {
        resolve('interrupted');
      };
      ended.then(this.#onFailure, this.#onFailure);
    });
    for (;;) {
      this.#throwIfFailed();
      while (this.#handled !== Atomics.load(words, control.requested)) {
        const tag = Atomics.load(words, ringWord(this.#handled, this.#exchanges.length));
        this.#handled++;
        if (tag === noMoreExchanges) return;
        this.#start(tag, signal);
      }
      const wait = Atomics.waitAsync(words, control.requested, this.#handled);
      const outcome = wait.async ? await Promise.race([wait.value, interrupted]) : wait.value;
      if (outcome !== 'interrupted') continue;
      Atomics.notify(words, control.requested);
      this.#throwIfFailed();
      // The worker is gone, or has ended and said so meanwhile.
      this.#handled = Atomics.load(words, control.requested);
      return;
    }
  }

  /** Resolves when nothing is under way any more; rejects when something has failed. */
  async drain(): Promise<void> {
    await Promise.all(this.#underWay.values());
    this.#throwIfFailed();
  }

  #start(tag: number, signal: AbortSignal | undefined): void {
    const exchange = this.#exchanges[tag];
    if (exchange === undefined) throw new Error(`the worker asked for unknown exchange ${String(tag)}`);
    const done = this.#communicator.exchange(exchange, signal).then(
      () => {
        this.#underWay.delete(tag);
        this.#complete(tag);
      },
      (reason: unknown) => {
        this.#underWay.delete(tag);
        this.#fail(reason);
      },
    );
    this.#underWay.set(tag, done);
  }

  #complete(tag: number): void {
    const word = completedWord(tag, this.#exchanges.length);
    Atomics.add(this.#words, word, 1);
    Atomics.notify(this.#words, word);
  }

  #fail(reason: unknown): void {
    this.#failure ??= { reason };
    Atomics.store(this.#words, control.failed, 1);
    // Whichever it sleeps on, the worker wakes.
    for (let tag = 0; tag < this.#exchanges.length; tag++) this.#complete(tag);
    this.#onFailure();
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.reason;
  }
}

/** The communicator's view of each exchange, by tag. */
function exchangesOf(schedule: Schedule, payload: SharedArrayBuffer): Exchange[] {
  const messages = (ranges: readonly Range[]): Message[] => {
    const peers = [...new Set(ranges.map(({ peer }) => peer))];
    return peers.map((peer) => ({
      peer,
      parts: ranges.filter((range) => range.peer === peer).map(({ offset, bytes }) => new Uint8Array(payload, offset, bytes)),
    }));
  };
  const steps = schedule.steps.filter((step) => step.kind === 'exchange');
  return steps.map(({ label, tag, sends, receives }) => ({ operation: label, tag, sends: messages(sends), receives: messages(receives) }));
}
