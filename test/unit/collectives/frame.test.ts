import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { decodeFrame, encodeFrame, maxFrameBytes, maxFramePayloadBytes, messageKinds } from '../../../runtime/collectives/grpc/frame.js';
import { protoPath } from '../../../runtime/collectives/grpc/protocol.js';

const Frame = protobuf.loadSync(protoPath()).lookupType('sdxl.runtime.v1alpha1.Frame');

const headers = fc.record({
  kind: fc.constantFrom('exchange' as const, 'barrier' as const),
  sequence: fc.nat(0xffff_ffff),
  tag: fc.nat(0xffff_ffff),
  totalBytes: fc.oneof(fc.nat(300), fc.nat(2 ** 40)),
  offset: fc.oneof(fc.nat(300), fc.nat(2 ** 40)),
});

function plain(frame: { kind: keyof typeof messageKinds; sequence: number; tag: number; totalBytes: number; offset: number }): object {
  const { kind, sequence, tag, totalBytes, offset } = frame;
  return { kind: messageKinds[kind], sequence, tag, totalBytes, offset };
}

describe('frame', () => {
  it('is what protobuf writes for message Frame, byte for byte', () => {
    fc.assert(
      fc.property(headers, fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 4 }), (header, pieces) => {
        const payload = Buffer.concat(pieces);
        const ours = Buffer.from(encodeFrame({ ...header, pieces, payloadBytes: payload.length }));
        // protobufjs writes set fields even where they hold the default; proto3 leaves those out.
        const set: Record<string, unknown> = { ...plain(header), ...(payload.length === 0 ? {} : { payload }) };
        const fields = Object.fromEntries(Object.entries(set).filter(([, value]) => value !== 0));
        assert.deepEqual(ours, Buffer.from(Frame.encode(Frame.fromObject(fields)).finish()));
      }),
    );
  });

  it('is read by protobuf', () => {
    fc.assert(
      fc.property(headers, fc.uint8Array({ maxLength: 50 }), (header, payload) => {
        const bytes = Buffer.from(encodeFrame({ ...header, pieces: [payload], payloadBytes: payload.length }));
        const read = Frame.toObject(Frame.decode(bytes), { longs: Number, defaults: true, bytes: Array });
        assert.deepEqual(read, { ...plain(header), payload: [...payload] });
      }),
    );
  });

  it('reads what protobuf writes, with the fields in any order and unknown ones among them', () => {
    fc.assert(
      fc.property(headers, fc.uint8Array({ maxLength: 50 }), fc.boolean(), (header, payload, unknownFirst) => {
        const written = Buffer.from(Frame.encode(Frame.fromObject({ ...plain(header), payload })).finish());
        // Fields 20 to 23, one of each wire type.
        const unknown = protobuf.Writer.create()
          .uint32(160)
          .uint64(77)
          .uint32(169)
          .fixed64(5)
          .uint32(178)
          .string('x')
          .uint32(189)
          .fixed32(1);
        const extra = Buffer.from(unknown.finish());
        const frame = decodeFrame(Buffer.concat(unknownFirst ? [extra, written] : [written, extra]));
        assert.deepEqual(plain(frame), plain(header));
        assert.deepEqual([...frame.payload], [...payload]);
      }),
    );
  });

  it('of any bytes, is either read or refused with a RangeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decodeFrame(Buffer.from(bytes));
        } catch (error) {
          assert.ok(error instanceof RangeError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('cut off anywhere, is refused or loses whole fields only', () => {
    const header = { kind: 'barrier', sequence: 3, tag: 4, totalBytes: 5, offset: 0 } as const;
    const bytes = Buffer.from(encodeFrame({ ...header, pieces: [new Uint8Array(5)], payloadBytes: 5 }));
    for (let end = bytes.length - 5; end < bytes.length; end++) assert.throws(() => decodeFrame(bytes.subarray(0, end)), RangeError);
  });

  it('never exceeds the limit the client sets', () => {
    const largest = {
      kind: 'barrier',
      sequence: 2 ** 32 - 1,
      tag: 2 ** 32 - 1,
      totalBytes: Number.MAX_SAFE_INTEGER,
      offset: Number.MAX_SAFE_INTEGER,
    } as const;
    const bytes = encodeFrame({ ...largest, pieces: [new Uint8Array(maxFramePayloadBytes)], payloadBytes: maxFramePayloadBytes });
    assert.ok(bytes.length <= maxFrameBytes);
  });
});
