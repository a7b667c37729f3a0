/**
 * The data path's frames, written and read straight on buffers: the same bytes as protobuf's own codec for message Frame of
 * communicator.proto (a test compares them), without a message object and with one copy of the payload on either side.
 */

/** Numbers of the enum MessageKind. */
export const messageKinds = { exchange: 0, barrier: 1 } as const;
export type MessageKind = keyof typeof messageKinds;

/** Payload bytes of one frame at most: the best bandwidth of bench/collectives.ts, and small enough to interleave peers. */
export const maxFramePayloadBytes = 512 << 10;

/** Above any frame that {@link encodeFrame} can make; a longer one is refused before it is read. */
export const maxFrameBytes = maxFramePayloadBytes + 64;

export interface FrameHeader {
  readonly kind: MessageKind;
  /** The message's number on its stream. */
  readonly sequence: number;
  readonly tag: number;
  readonly totalBytes: number;
  readonly offset: number;
}

export interface OutgoingFrame extends FrameHeader {
  /** The payload in pieces, views of the caller's memory: read once, when the frame is encoded. */
  readonly pieces: readonly Uint8Array[];
  readonly payloadBytes: number;
}

export interface IncomingFrame extends FrameHeader {
  /** A view of the received bytes. */
  readonly payload: Uint8Array;
}

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const key = {
  kind: (1 << 3) | wire.varint,
  sequence: (2 << 3) | wire.fixed32,
  tag: (3 << 3) | wire.fixed32,
  totalBytes: (4 << 3) | wire.varint,
  offset: (5 << 3) | wire.varint,
  payload: (15 << 3) | wire.bytes,
} as const;

const scratch = Buffer.allocUnsafeSlow(maxFrameBytes);

/**
 * The frame's bytes, in memory that the next call overwrites: gRPC copies them behind its own prefix at once, and one
 * buffer for all frames spares the garbage collector half of what it would have to free.
 */
export function encodeFrame(frame: OutgoingFrame): Buffer {
  const { kind, sequence, tag, totalBytes, offset, pieces, payloadBytes } = frame;
  const bytes = scratch;
  let at = 0;
  if (kind !== 'exchange') {
    bytes[at++] = key.kind;
    bytes[at++] = messageKinds[kind];
  }
  if (sequence !== 0) {
    bytes[at++] = key.sequence;
    at = bytes.writeUInt32LE(sequence, at);
  }
  if (tag !== 0) {
    bytes[at++] = key.tag;
    at = bytes.writeUInt32LE(tag, at);
  }
  if (totalBytes !== 0) {
    bytes[at++] = key.totalBytes;
    at = writeVarint(bytes, totalBytes, at);
  }
  if (offset !== 0) {
    bytes[at++] = key.offset;
    at = writeVarint(bytes, offset, at);
  }
  if (payloadBytes !== 0) {
    bytes[at++] = key.payload;
    at = writeVarint(bytes, payloadBytes, at);
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.byteLength;
    }
  }
  return bytes.subarray(0, at);
}

/**
 * Reads a frame; the payload is a view of `bytes`. Unknown fields are skipped, as protobuf asks. Throws a RangeError on
 * bytes that are no frame.
 */
export function decodeFrame(bytes: Buffer): IncomingFrame {
  let kind: MessageKind = 'exchange';
  let [sequence, tag, totalBytes, offset] = [0, 0, 0, 0];
  let payload: Uint8Array = bytes.subarray(0, 0);
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      if (byte === undefined || scale > 2 ** 63) throw new RangeError('a varint of the frame is cut off or too long');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
  };
  const skip = (size: number): number => {
    const from = at;
    if (size > bytes.length - at) throw new RangeError(`a frame of ${String(bytes.length)} bytes is cut off at ${String(at)}`);
    at += size;
    return from;
  };
  while (at < bytes.length) {
    const field = varint();
    switch (field) {
      case key.kind:
        kind = kindOf(varint());
        break;
      case key.sequence:
        sequence = bytes.readUInt32LE(skip(4));
        break;
      case key.tag:
        tag = bytes.readUInt32LE(skip(4));
        break;
      case key.totalBytes:
        totalBytes = safe(varint());
        break;
      case key.offset:
        offset = safe(varint());
        break;
      case key.payload: {
        const size = varint();
        const from = skip(size);
        payload = bytes.subarray(from, at);
        break;
      }
      default:
        if ((field & 7) === wire.varint) varint();
        else if ((field & 7) === wire.fixed64) skip(8);
        else if ((field & 7) === wire.bytes) skip(varint());
        else if ((field & 7) === wire.fixed32) skip(4);
        else throw new RangeError(`a frame holds a field of unknown wire type ${String(field & 7)}`);
    }
  }
  return { kind, sequence, tag, totalBytes, offset, payload };
}

function kindOf(value: number): MessageKind {
  if (value === messageKinds.exchange) return 'exchange';
  if (value === messageKinds.barrier) return 'barrier';
  throw new RangeError(`a frame is of unknown kind ${String(value)}`);
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw new RangeError(`a frame states the size or offset ${String(value)}`);
  return value;
}

function writeVarint(bytes: Buffer, value: number, at: number): number {
  let rest = value;
  while (rest >= 0x80) {
    bytes[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  bytes[at++] = rest;
  return at;
}
