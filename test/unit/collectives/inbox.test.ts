import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { IncomingFrame } from '../../../runtime/collectives/grpc/frame.js';
import { Inbox, type PostedReceive } from '../../../runtime/collectives/grpc/inbox.js';
import type { SdxlError } from '../../../runtime/errors/index.js';

const frame = (sequence: number, payload: Uint8Array, change: Partial<IncomingFrame> = {}): IncomingFrame => ({
  kind: 'exchange',
  sequence,
  tag: 1,
  totalBytes: payload.length,
  offset: 0,
  payload,
  ...change,
});

const post = (size: number, received: () => void = () => undefined): PostedReceive => ({
  kind: 'exchange',
  operation: 'halo',
  tag: 1,
  parts: [new Uint8Array(size)],
  totalBytes: size,
  received,
});

class Source {
  paused = false;
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
}

describe('inbox', () => {
  it('pauses the stream when too much waits, and resumes it as the receives are posted', () => {
    const inbox = new Inbox(1, 10_000);
    const source = new Source();
    inbox.attach(source);
    for (let sequence = 0; sequence < 12; sequence++) {
      assert.equal(source.paused, sequence >= 8, String(sequence));
      inbox.accept(frame(sequence, new Uint8Array(1_000)));
    }
    let done = 0;
    for (let sequence = 0; sequence < 12; sequence++) {
      inbox.post(post(1_000, () => done++));
      assert.equal(done, sequence + 1);
    }
    assert.equal(source.paused, false);
  });

  it('empty messages count as well', () => {
    const inbox = new Inbox(1, 10_000);
    const source = new Source();
    inbox.attach(source);
    for (let sequence = 0; !source.paused; sequence++) {
      assert.ok(sequence < 1_000);
      inbox.accept(frame(sequence, new Uint8Array(0)));
    }
  });

  it('takes a message larger than the bound, once it is asked for', () => {
    const inbox = new Inbox(1, 1_000);
    const source = new Source();
    inbox.attach(source);
    inbox.accept(frame(0, new Uint8Array(2_000), { totalBytes: 4_000 }));
    assert.equal(source.paused, true);
    let done = false;
    inbox.post(post(4_000, () => (done = true)));
    assert.equal(source.paused, false);
    inbox.accept(frame(0, new Uint8Array(2_000), { totalBytes: 4_000, offset: 2_000 }));
    assert.equal(done, true);
  });

  for (const [name, change] of [
    ['another tag', { tag: 2 }],
    ['another size', { totalBytes: 9 }],
    ['a barrier', { kind: 'barrier' }],
    ['a message out of turn', { sequence: 1 }],
    ['bytes out of turn', { offset: 3 }],
    ['more bytes than stated', { payload: new Uint8Array(5) }],
    ['no bytes of a message that has some', { payload: new Uint8Array(0) }],
  ] satisfies [string, Partial<IncomingFrame>][]) {
    it(`refuses ${name}, early or late`, () => {
      const violates = (error: unknown): boolean => {
        const { code, fields } = error as SdxlError;
        return code === 'PROTOCOL_VIOLATION' && fields['rank'] === 7 && fields['operation'] === 'halo';
      };
      const wrong = frame(0, new Uint8Array(4), change);
      const late = new Inbox(7, 1_000);
      late.post(post(4));
      assert.throws(() => {
        late.accept(wrong);
      }, violates);
      const early = new Inbox(7, 1_000);
      early.accept(wrong);
      assert.throws(() => {
        early.post(post(4));
      }, violates);
    });
  }

  it('a receive that nothing can fill any more is a violation', () => {
    const inbox = new Inbox(1, 1_000);
    inbox.accept(frame(0, new Uint8Array(4)));
    inbox.end();
    inbox.post(post(4));
    assert.throws(() => {
      inbox.post(post(4));
    }, /rank 1 closed without sending tag 1 \(4 bytes\) for halo/u);
  });
});
