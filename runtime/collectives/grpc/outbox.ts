/**
 * The messages of this rank to one peer, in order, cut into frames and pushed into the peer's subscription.
 *
 * One frame is encoded at a time, when the one before has left: queued messages are only views of the caller's memory, so
 * memory stays bounded by one frame however much is outstanding.
 */
import { maxFramePayloadBytes, type MessageKind, type OutgoingFrame } from './frame.js';

export interface OutgoingMessage {
  readonly kind: MessageKind;
  readonly tag: number;
  readonly parts: readonly Uint8Array[];
  readonly totalBytes: number;
  /** Called once the last frame has been written; the parts may be reused from then on. */
  readonly sent: () => void;
}

/** The part of a server's call that frames are written to. */
export interface FrameSink {
  write(frame: OutgoingFrame, written: () => void): unknown;
  end(): unknown;
}

export class Outbox {
  readonly #queue: OutgoingMessage[] = [];
  #sink: FrameSink | undefined;
  #writing = false;
  #ending = false;
  #sequence = 0;
  #part = 0;
  #partOffset = 0;
  #offset = 0;

  /** Messages not yet handed over wholly. */
  get pending(): number {
    return this.#queue.length;
  }

  /** The peer has subscribed: from now on frames flow to it. */
  attach(sink: FrameSink): void {
    this.#sink = sink;
    this.#pump();
  }

  send(message: OutgoingMessage): void {
    this.#queue.push(message);
    this.#pump();
  }

  /** Ends the stream after the last queued message. */
  end(): void {
    this.#ending = true;
    this.#pump();
  }

  /** Forgets everything: the gang is over. */
  discard(): void {
    this.#queue.length = 0;
    this.#sink = undefined;
  }

  #pump(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#writing) return;
    const message = this.#queue[0];
    if (message === undefined) {
      if (this.#ending) {
        this.#sink = undefined;
        sink.end();
      }
      return;
    }
    const frame = this.#nextFrame(message);
    this.#writing = true;
    const isLast = this.#offset + frame.payloadBytes === message.totalBytes;
    // The sink is idle, so the frame is encoded, and its pieces are read, before write returns.
    sink.write(frame, () => {
      this.#writing = false;
      // Not before: the caller may block its thread next, in a native call that waits for this message's receiver.
      if (isLast) message.sent();
      this.#pump();
    });
    this.#offset += frame.payloadBytes;
    if (!isLast) return;
    this.#queue.shift();
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#part = this.#partOffset = this.#offset = 0;
  }

  /** The next run of the message's bytes, across parts, without copying them. */
  #nextFrame(message: OutgoingMessage): OutgoingFrame {
    const { kind, tag, parts, totalBytes } = message;
    const header = { kind, sequence: this.#sequence, tag, totalBytes, offset: this.#offset };
    if (totalBytes <= maxFramePayloadBytes) return { ...header, pieces: parts, payloadBytes: totalBytes };
    const pieces: Uint8Array[] = [];
    let payloadBytes = 0;
    while (payloadBytes < maxFramePayloadBytes && this.#part < parts.length) {
      const part = parts[this.#part] ?? new Uint8Array(0);
      const size = Math.min(part.byteLength - this.#partOffset, maxFramePayloadBytes - payloadBytes);
      pieces.push(part.subarray(this.#partOffset, this.#partOffset + size));
      payloadBytes += size;
      this.#partOffset += size;
      if (this.#partOffset === part.byteLength) {
        this.#part++;
        this.#partOffset = 0;
      }
    }
    return { ...header, pieces, payloadBytes };
  }
}
