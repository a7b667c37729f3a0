/**
 * The messages of one peer to this rank: matched in order with the receives this rank posts, copied once, straight into
 * the caller's ranges. What arrives before its receive is posted waits here, up to a bound, then the stream is paused.
 */
import { SdxlError } from '../../errors/index.js';
import type { IncomingFrame, MessageKind } from './frame.js';

export interface PostedReceive {
  readonly kind: MessageKind;
  readonly operation: string;
  readonly tag: number;
  readonly parts: readonly Uint8Array[];
  readonly totalBytes: number;
  readonly received: () => void;
}

/** The stream the frames come from. */
export interface FrameSource {
  pause(): unknown;
  resume(): unknown;
}

export class Inbox {
  readonly #peer: number;
  readonly #maxBufferedBytes: number;
  readonly #posted: PostedReceive[] = [];
  readonly #early: IncomingFrame[] = [];
  #earlyBytes = 0;
  #source: FrameSource | undefined;
  #paused = false;
  #ended = false;
  /** The number of the message the next frame belongs to, and how far that message has come. */
  #sequence = 0;
  #offset = 0;
  #part = 0;
  #partOffset = 0;

  constructor(peer: number, maxBufferedBytes: number) {
    this.#peer = peer;
    this.#maxBufferedBytes = maxBufferedBytes;
  }

  /** Bytes of the message at the head that have arrived. */
  get headBytes(): number {
    return this.#offset;
  }

  attach(source: FrameSource): void {
    this.#source = source;
  }

  /** Takes the next message for `receive`; throws PROTOCOL_VIOLATION when what is already there does not fit. */
  post(receive: PostedReceive): void {
    this.#posted.push(receive);
    let frame;
    while (this.#posted.length > 0 && (frame = this.#early.shift()) !== undefined) {
      this.#earlyBytes -= weight(frame);
      this.#fill(frame);
    }
    if (this.#paused && this.#earlyBytes <= this.#maxBufferedBytes / 2) {
      this.#paused = false;
      this.#source?.resume();
    }
    this.#checkEnded();
  }

  /** Takes a frame off the stream; throws PROTOCOL_VIOLATION when it does not fit the receive posted for it. */
  accept(frame: IncomingFrame): void {
    if (this.#early.length === 0 && this.#posted.length > 0) {
      this.#fill(frame);
      return;
    }
    this.#early.push(frame);
    this.#earlyBytes += weight(frame);
    if (this.#earlyBytes > this.#maxBufferedBytes && !this.#paused) {
      this.#paused = true;
      this.#source?.pause();
    }
  }

  /** The peer has closed: nothing more will come. */
  end(): void {
    this.#ended = true;
    this.#checkEnded();
  }

  /** Forgets everything: the gang is over. */
  discard(): void {
    this.#posted.length = 0;
    this.#early.length = 0;
    this.#source = undefined;
  }

  #fill(frame: IncomingFrame): void {
    const receive = this.#posted[0];
    if (receive === undefined) throw new Error('a frame was matched with no receive posted');
    this.#check(frame, receive);
    let payload = frame.payload;
    while (payload.byteLength > 0) {
      const part = receive.parts[this.#part];
      if (part === undefined) throw new Error('a receive is shorter than its stated size');
      const size = Math.min(part.byteLength - this.#partOffset, payload.byteLength);
      if (size > 0) part.set(size === payload.byteLength ? payload : payload.subarray(0, size), this.#partOffset);
      payload = payload.subarray(size);
      this.#partOffset += size;
      if (this.#partOffset === part.byteLength) {
        this.#part++;
        this.#partOffset = 0;
      }
    }
    this.#offset += frame.payload.byteLength;
    if (this.#offset === receive.totalBytes) {
      this.#posted.shift();
      this.#sequence = (this.#sequence + 1) >>> 0;
      this.#offset = this.#part = this.#partOffset = 0;
      receive.received();
    }
  }

  #check(frame: IncomingFrame, receive: PostedReceive): void {
    const { kind, sequence, tag, totalBytes, offset, payload } = frame;
    if (kind !== receive.kind || tag !== receive.tag || totalBytes !== receive.totalBytes) {
      throw this.#violation(
        `rank ${String(this.#peer)} sent ${describe(kind, tag, totalBytes)} where this rank expects ` +
          `${describe(receive.kind, receive.tag, receive.totalBytes)} for ${receive.operation}: the ranks' plans differ`,
        {
          operation: receive.operation,
          expectedTag: receive.tag,
          sentTag: tag,
          expectedBytes: receive.totalBytes,
          sentBytes: totalBytes,
        },
      );
    }
    const end = offset + payload.byteLength;
    if (sequence !== this.#sequence || offset !== this.#offset || end > totalBytes || (end === offset && end !== totalBytes)) {
      throw this.#violation(
        `rank ${String(this.#peer)} sent bytes ${String(offset)}–${String(end)} of ${String(totalBytes)} of message ` +
          `${String(sequence)} where byte ${String(this.#offset)} of message ${String(this.#sequence)} comes next`,
        { operation: receive.operation, expectedTag: receive.tag },
      );
    }
  }

  #checkEnded(): void {
    const receive = this.#posted[0];
    if (!this.#ended || receive === undefined) return;
    throw this.#violation(
      `rank ${String(this.#peer)} closed without sending ${describe(receive.kind, receive.tag, receive.totalBytes)} ` +
        `for ${receive.operation}: the ranks' plans differ`,
      { operation: receive.operation, expectedTag: receive.tag },
    );
  }

  #violation(message: string, fields: Readonly<Record<string, string | number>>): SdxlError {
    return new SdxlError('PROTOCOL_VIOLATION', message, { fields: { rank: this.#peer, ...fields } });
  }
}

/** What a waiting frame costs: empty ones are not free either. */
function weight(frame: IncomingFrame): number {
  return frame.payload.byteLength + 256;
}

function describe(kind: MessageKind, tag: number, totalBytes: number): string {
  return kind === 'barrier' ? 'a barrier' : `tag ${String(tag)} (${String(totalBytes)} bytes)`;
}
