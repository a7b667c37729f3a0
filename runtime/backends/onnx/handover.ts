/**
 * The worker's side of exchanges: packs what goes out, hands it to the main thread, unpacks what has come in. A fresh exchange is
 * waited for at once; a stale one when the next run reaches it, so that it travels while segments compute.
 */
import { joinMoments, timed, type RunSpan } from '../../engine/index.js';
import { SdxlError } from '../../errors/index.js';
import type { MomentsRule } from '../../graph/index.js';
import type { Copy, ExchangeStep, GatheredMoments } from './schedule.js';
import { completedWord, control, noMoreExchanges, ringWord, type RunRequest, type SharedMemory } from './worker-protocol.js';

export class Handover {
  readonly #words: Int32Array;
  readonly #payload: Uint8Array;
  readonly #exchanges: number;
  /** How often each exchange was sent, by tag; it is under way while it was completed less often. */
  readonly #sent: Int32Array;
  readonly #bufferBytes: (buffer: number) => Uint8Array;

  constructor(shared: SharedMemory, exchanges: number, bufferBytes: (buffer: number) => Uint8Array) {
    this.#words = new Int32Array(shared.control);
    this.#payload = new Uint8Array(shared.payload);
    this.#exchanges = exchanges;
    this.#sent = new Int32Array(exchanges);
    this.#bufferBytes = bufferBytes;
  }

  /** Makes one exchange of a run; returns whether anything was sent. Throws when this or an earlier one has failed. */
  exchange(step: ExchangeStep, displaced: RunRequest['displaced'], spans: RunSpan[] | undefined): boolean {
    const what = `${step.label}#${String(step.tag)}`;
    const send = (): void => {
      timed(spans, `send ${what}`, () => {
        this.#send(step);
      });
    };
    const receive = (): void => {
      timed(spans, `wait ${what}`, () => {
        this.#await(step);
      });
      timed(spans, `unpack ${what}`, () => {
        this.#copy(step.unpack);
      });
    };
    const timing = displaced?.displacement.timing[step.label] ?? 'fresh';
    if (timing === 'fresh' || displaced === undefined) {
      send();
      receive();
      return true;
    }
    // What the run before has sent; its memory is free again once it is unpacked.
    receive();
    if (step.moments !== undefined) this.#join(step.moments, displaced.displacement.moments);
    if (timing === 'frozen' || displaced.last) return false;
    send();
    return true;
  }

  /** Tells the main thread that the run has ended. */
  finish(): void {
    this.#request(noMoreExchanges);
  }

  #send(step: ExchangeStep): void {
    this.#copy(step.pack);
    this.#sent[step.tag] = (this.#sent[step.tag] ?? 0) + 1;
    this.#request(step.tag);
  }

  #await({ tag, label }: ExchangeStep): void {
    const word = completedWord(tag, this.#exchanges);
    for (;;) {
      const completed = Atomics.load(this.#words, word);
      // Completions count on when exchanges fail, so that nobody sleeps on.
      if (Atomics.load(this.#words, control.failed) !== 0) {
        throw new SdxlError('PEER_LOST', `exchange ${label} failed`, { fields: { operation: label } });
      }
      if (completed === this.#sent[tag]) return;
      Atomics.wait(this.#words, word, completed);
    }
  }

  #request(tag: number): void {
    const request = Atomics.load(this.#words, control.requested);
    Atomics.store(this.#words, ringWord(request, this.#exchanges), tag);
    Atomics.store(this.#words, control.requested, request + 1);
    Atomics.notify(this.#words, control.requested);
  }

  #join({ buffer, bytes, packedAt, packedBytes, ranks, position }: GatheredMoments, rule: MomentsRule): void {
    const memory = this.#bufferBytes(buffer);
    const moments = new Float32Array(memory.buffer, memory.byteOffset, bytes / Float32Array.BYTES_PER_ELEMENT);
    const previous = new Float32Array(this.#payload.buffer, packedAt, packedBytes / Float32Array.BYTES_PER_ELEMENT);
    joinMoments(moments, previous, { ranks, position }, rule);
  }

  #copy(copies: readonly Copy[]): void {
    const memory = (buffer: number | 'shared'): Uint8Array => (buffer === 'shared' ? this.#payload : this.#bufferBytes(buffer));
    for (const { from, to, bytes } of copies) {
      const target = memory(to.buffer);
      if (from === undefined) target.fill(0, to.offset, to.offset + bytes);
      else target.set(memory(from.buffer).subarray(from.offset, from.offset + bytes), to.offset);
    }
  }
}
