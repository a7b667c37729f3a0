/**
 * Processes that are no ranks, at the port of one: ten thousand malformed messages of every layer, while the gang works. Nobody ends,
 * nobody computes wrong, and memory stays bounded.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { decodeFrame, encodeFrame } from '../../runtime/collectives/grpc/frame.js';
import { GrpcCommunicator, type TlsIdentity } from '../../runtime/collectives/index.js';
import { localIdentity } from '../../runtime/launch/certificates.js';
import { eventually } from '../support/sdxl.js';
import { freePort, openGang, rankOptions, token } from '../unit/collectives/gang.js';

const messages = 10_000;
/** Of the whole process: two ranks and those who attack them. */
const growthBytes = 192 << 20;
const withinMs = 90_000;

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** An HTTP/2 frame with the length it states. */
function http2(type: number, flags: number, stream: number, payload: Buffer, stated = payload.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(stated, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, payload]);
}

/** A header field without compression or indexing (RFC 7541, section 6.2.2). */
function field(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
}

function call(path: string, more: Buffer = Buffer.alloc(0), stream = 1): Buffer {
  const fields = [
    field(':method', 'POST'),
    field(':scheme', 'http'),
    // Without it HTTP/2 itself resets the stream, and no call is made.
    field(':authority', 'rank'),
    field(':path', path),
    field('content-type', 'application/grpc'),
    field('te', 'trailers'),
    more,
  ];
  return http2(1, 4, stream, Buffer.concat(fields));
}

const settings = http2(4, 0, 0, Buffer.alloc(0));
const paths = ['Join', 'Receive', 'Watch', 'Nothing'].map((name) => `/sdxl.runtime.v1alpha1.Communicator/${name}`);
const pick = <T>(list: readonly T[], at: number): T => list[at % list.length] ?? assert.fail();

/** Kinds of malformed messages, each with its number in the series. */
const kinds: readonly ((at: number) => Buffer)[] = [
  (at) => randomBytes(1 + (at % 600)),
  () => Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  (at) => preface.subarray(0, at % preface.length),
  (at) => Buffer.concat([preface, randomBytes(at % 400)]),
  // Any type, any flags, a length that may be wrong.
  (at) => Buffer.concat([preface, settings, http2(at % 12, at % 256, at % 7, randomBytes(at % 100), at % 3 === 0 ? 0xff_ffff : at % 100)]),
  // Calls without a token, with a wrong one, and with an endless one.
  (at) => Buffer.concat([preface, settings, call(pick(paths, at)), http2(0, 1, 1, randomBytes(at % 300))]),
  (at) =>
    Buffer.concat([preface, settings, call(pick(paths, at), field('sdxl-token', `not ${String(at)}`)), http2(0, 1, 1, randomBytes(20))]),
  (at) => Buffer.concat([preface, settings, http2(1, 0, 1, randomBytes(at % 200)), http2(9, 0, 1, randomBytes(at % 200))]),
  // The right token, and then no message of this protocol.
  (at) =>
    Buffer.concat([
      preface,
      settings,
      call(pick(paths, at), field('sdxl-token', token)),
      http2(0, 1, 1, Buffer.concat([Buffer.from([0, 0, 0, 0, at % 90]), randomBytes(at % 90)])),
    ]),
  // One that states a message of four gigabytes.
  (at) =>
    Buffer.concat([
      preface,
      settings,
      call(pick(paths, at), field('sdxl-token', token)),
      http2(0, 0, 1, Buffer.from([0, 255, 255, 255, 255, 1])),
    ]),
  // TLS: a greeting cut off, and a record of the largest size.
  (at) => Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), randomBytes(at % 64)]),
  (at) => Buffer.concat([Buffer.from([0x16, 3, 3, 0x40, 0]), randomBytes(at % 512)]),
];

/** Sends it, waits a moment for an answer or the end, and leaves, at times without saying so. */
function assail(port: number, bytes: Buffer, at: number): Promise<void> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ port, host: '127.0.0.1' });
    const leave = setTimeout(() => (at % 2 === 0 ? socket.destroy() : socket.resetAndDestroy()), 20);
    socket
      .on('error', () => undefined)
      .on('close', () => {
        clearTimeout(leave);
        resolve();
      })
      .resume();
    socket.write(bytes);
  });
}

describe('strangers at the port of a rank', () => {
  let identity: TlsIdentity;
  before(async () => {
    identity = await localIdentity();
  });
  let gang: GrpcCommunicator[] = [];
  after(async () => {
    await Promise.all(gang.map((communicator) => communicator.close()));
  });

  for (const [how, tls] of [
    ['plain', () => undefined],
    ['with certificates', () => identity],
  ] as const) {
    it(`${String(messages / 2)} malformed messages, ${how}`, { timeout: withinMs }, async (t) => {
      let port = 0;
      const own = tls();
      gang = await openGang(2, (options) => {
        port = options.coordinator.port;
        return own === undefined ? options : { ...options, tls: own };
      });
      let exchanges = 0;
      const stop = new AbortController();
      const working = Promise.all(
        gang.map(async (communicator) => {
          const peer = 1 - communicator.rank;
          const [outgoing, incoming] = [new Uint8Array(4096), new Uint8Array(4096)];
          const flag = new Uint8Array(1);
          for (let round = 0; ; round++) {
            outgoing.fill((round + communicator.rank) % 251);
            // Rank 0 says when it is enough.
            flag[0] = stop.signal.aborted ? 1 : 0;
            const theirs = new Uint8Array(1);
            await communicator.exchange({
              operation: 'halo',
              tag: round % 1000,
              sends: [{ peer, parts: [outgoing, flag] }],
              receives: [{ peer, parts: [incoming, theirs] }],
            });
            assert.ok(incoming.every((value) => value === (round + peer) % 251));
            if (communicator.rank === 0) exchanges = round;
            if ((communicator.rank === 0 ? flag[0] : theirs[0]) === 1) return;
            await delay(1);
          }
        }),
      );
      // Warm, so that what is measured is growth and not the first use.
      for (let at = 0; at < 100; at++) await assail(port, pick(kinds, at)(at), at);
      globalThis.gc?.();
      const before = process.memoryUsage.rss();
      let peak = before;
      const started = performance.now();
      let next = 0;
      await Promise.all(
        Array.from({ length: 24 }, async () => {
          while (next < messages / 2) {
            const at = next++;
            await assail(port, pick(kinds, at)(at), at);
            if (at % 100 === 0) peak = Math.max(peak, process.memoryUsage.rss());
          }
        }),
      );
      const seconds = (performance.now() - started) / 1000;
      stop.abort();
      await working;
      for (const communicator of gang) assert.equal(communicator.failed.aborted, false);
      t.diagnostic(
        `${seconds.toFixed(1)} s, ${String(exchanges)} exchanges meanwhile, memory grew by at most ${((peak - before) / 2 ** 20).toFixed(0)} MiB`,
      );
      assert.ok(exchanges > 20, String(exchanges));
      assert.ok(peak - before < growthBytes, String(peak - before));
      await Promise.all(gang.map((communicator) => communicator.close()));
    });
  }

  it('those that only hold a connection are shut out in time, and never keep ranks away for longer', { timeout: withinMs }, async () => {
    let port = 0;
    gang = await openGang(2, (options) => {
      port = options.coordinator.port;
      return options;
    });
    const idle = Array.from({ length: 200 }, () => connect({ port, host: '127.0.0.1' }));
    const closed = idle.map(
      (socket) =>
        new Promise((resolve) =>
          socket
            .on('error', () => undefined)
            .on('close', resolve)
            .resume(),
        ),
    );
    await Promise.all(gang.map((communicator) => communicator.barrier()));
    const started = performance.now();
    await Promise.all(closed);
    assert.ok(performance.now() - started < 20_000);
    for (const communicator of gang) assert.equal(communicator.failed.aborted, false);
    await Promise.all(gang.map((communicator) => communicator.barrier()));
  });
});

async function isOpen(port: number): Promise<true | undefined> {
  return await new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(undefined));
  });
}

describe('strangers that come back', () => {
  const ended = new AbortController();
  const hold = (port: number, localAddress: string): void => {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    socket
      .on('error', () => undefined)
      .on('close', () => setTimeout(() => !ended.signal.aborted && hold(port, localAddress), 5))
      .resume();
    ended.signal.addEventListener('abort', () => socket.destroy());
  };
  let gang: GrpcCommunicator[] = [];
  after(async () => {
    ended.abort();
    await Promise.all(gang.map((communicator) => communicator.close()));
  });

  it('at once, each time they are shut out, do not keep a gang from forming; those of one address give way to others', async () => {
    const port = await freePort();
    const first = GrpcCommunicator.open(rankOptions(0, 2, port));
    first.catch(() => undefined);
    await eventually('rank 0 at its port', async () => await isOpen(port));
    const quiet = Array.from({ length: 20 }, () => connect({ port, host: '127.0.0.1' }).on('error', () => undefined));
    await Promise.all(quiet.map((socket) => once(socket, 'connect')));
    for (let at = 0; at < 200; at++) hold(port, '127.0.0.2');
    await delay(500);
    assert.equal(quiet.filter(({ closed, destroyed }) => closed || destroyed).length, 0);
    for (let at = 0; at < 200; at++) hold(port, '127.0.0.1');
    const second = GrpcCommunicator.open(rankOptions(1, 2, port));
    gang = await Promise.all([first, second]);
    await Promise.all(gang.map((communicator) => communicator.barrier()));
    for (const socket of quiet) socket.destroy();
  });

  it('with another call, having been refused, are cut off after a few', async () => {
    let port = 0;
    const [one, other] = await openGang(2, (options) => {
      port = options.coordinator.port;
      return options;
    });
    const socket = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
    socket.resume().write(Buffer.concat([preface, settings]));
    let calls = 0;
    try {
      while (!socket.destroyed && calls < 100) {
        socket.write(call(pick(paths, 1), Buffer.alloc(0), 1 + 2 * calls++));
        await delay(20);
      }
      assert.ok(calls < 20, String(calls));
    } finally {
      socket.destroy();
      await Promise.all([one?.close(), other?.close()]);
    }
  });
});

describe('frames from a member', () => {
  it('ten thousand of random bytes are read or refused as no frame, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          const frame = decodeFrame(Buffer.from(bytes));
          assert.ok(frame.payload.byteLength <= bytes.length);
        } catch (error) {
          assert.ok(error instanceof RangeError, String(error));
        }
      }),
      { numRuns: messages },
    );
  });

  it('ten thousand with one bit turned are read or refused as no frame', () => {
    const payload = Uint8Array.from({ length: 64 }, (_, index) => index);
    const whole = Buffer.from(
      encodeFrame({ kind: 'barrier', sequence: 7, tag: 9, totalBytes: 640, offset: 64, pieces: [payload], payloadBytes: 64 }),
    );
    for (let at = 0; at < messages; at++) {
      const bytes = Buffer.from(whole);
      const bit = at % (bytes.length * 8);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const cut = at < bytes.length * 8 ? bytes : bytes.subarray(0, at % bytes.length);
      try {
        decodeFrame(cut);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }
  });
});
