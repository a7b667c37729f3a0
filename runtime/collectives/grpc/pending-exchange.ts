/** An exchange or barrier under way: what it still waits for, its deadline, and its promise. */
import { SdxlError } from '../../errors/index.js';
import type { CommunicatorObserver, Exchange } from '../communicator.js';
import { nameRanks } from './fingerprint.js';
import type { MessageKind } from './frame.js';
import type { OutgoingMessage } from './outbox.js';
import type { PostedReceive } from './inbox.js';

interface Outstanding {
  readonly peer: number;
  readonly bytes: number;
}

export interface PendingEvents {
  /** The deadline has passed or the caller has given up: peers can no longer be matched, so the gang ends. */
  failed(error: SdxlError): void;
  settled(pending: PendingExchange): void;
}

export class PendingExchange {
  readonly promise: Promise<void>;
  readonly #kind: MessageKind;
  readonly #exchange: Exchange;
  readonly #events: PendingEvents;
  readonly #observer: CommunicatorObserver | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  readonly #unsent = new Set<Outstanding>();
  readonly #unreceived = new Set<Outstanding>();
  #sentBytes = 0;
  #receivedBytes = 0;
  #started = false;
  #settled = false;
  #resolve!: () => void;
  #reject!: (reason: unknown) => void;

  constructor(
    kind: MessageKind,
    exchange: Exchange,
    timeoutMs: number,
    events: PendingEvents,
    observer: CommunicatorObserver | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.#kind = kind;
    this.#exchange = exchange;
    this.#events = events;
    this.#observer = observer;
    this.#signal = signal;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#timer = setTimeout(() => {
      events.failed(this.#timeout(timeoutMs));
    }, timeoutMs);
    signal?.addEventListener('abort', this.#givenUp);
  }

  outgoing(peer: number, parts: readonly Uint8Array[]): OutgoingMessage {
    const entry = { peer, bytes: sizeOf(parts) };
    this.#unsent.add(entry);
    this.#sentBytes += entry.bytes;
    return {
      kind: this.#kind,
      tag: this.#exchange.tag,
      parts,
      totalBytes: entry.bytes,
      sent: () => {
        this.#unsent.delete(entry);
        this.#check();
      },
    };
  }

  incoming(peer: number, parts: readonly Uint8Array[]): PostedReceive {
    const entry = { peer, bytes: sizeOf(parts) };
    this.#unreceived.add(entry);
    this.#receivedBytes += entry.bytes;
    const { operation, tag } = this.#exchange;
    return {
      kind: this.#kind,
      operation,
      tag,
      parts,
      totalBytes: entry.bytes,
      received: () => {
        this.#unreceived.delete(entry);
        this.#check();
      },
    };
  }

  /** Every message has been handed over; before that, an exchange that seems complete is not. */
  start(): void {
    this.#started = true;
    this.#check();
  }

  reject(reason: unknown): void {
    if (!this.#settle()) return;
    this.#reject(reason);
  }

  #check(): void {
    if (!this.#started || this.#unsent.size > 0 || this.#unreceived.size > 0) return;
    if (!this.#settle()) return;
    this.#events.settled(this);
    this.#observer?.exchanged({
      operation: this.#exchange.operation,
      seconds: (performance.now() - this.#startedAt) / 1000,
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
    });
    this.#resolve();
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#givenUp);
    return true;
  }

  readonly #givenUp = (): void => {
    const reason: unknown = this.#signal?.reason;
    this.reject(reason);
    this.#events.failed(
      reason instanceof SdxlError
        ? reason
        : new SdxlError('CANCELLED', `${this.#name()} was given up: ${reason instanceof Error ? reason.message : String(reason)}`, {
            cause: reason,
          }),
    );
  };

  #timeout(timeoutMs: number): SdxlError {
    const late = this.#unreceived.size > 0 ? this.#unreceived : this.#unsent;
    const ranks = [...new Set([...late].map(({ peer }) => peer))].sort((a, b) => a - b);
    const bytes = [...late].reduce((sum, entry) => sum + entry.bytes, 0);
    const what = late === this.#unreceived ? 'did not deliver' : 'did not take';
    const { operation, tag } = this.#exchange;
    return new SdxlError(
      'COLLECTIVE_TIMEOUT',
      `${nameRanks(ranks)} ${what} ${String(bytes)} bytes of ${this.#name()} within ${String(timeoutMs)} ms: ` +
        'see whether it hangs, or raise the exchange timeout',
      { fields: { rank: ranks[0] ?? 0, ranks, operation, tag, timeoutMs } },
    );
  }

  #name(): string {
    return this.#kind === 'barrier' ? 'a barrier' : `${this.#exchange.operation}#${String(this.#exchange.tag)}`;
  }
}

function sizeOf(parts: readonly Uint8Array[]): number {
  let size = 0;
  for (const part of parts) size += part.byteLength;
  return size;
}
