/** A member of the gang, token and all, that does not keep to the protocol: the others end, and name it. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { maxFrameBytes } from '../../../runtime/collectives/grpc/frame.js';
import { Host, type ReceiveCall, type WatchCall } from '../../../runtime/collectives/grpc/host.js';
import { Peer } from '../../../runtime/collectives/grpc/peer.js';
import { protocol } from '../../../runtime/collectives/grpc/protocol.js';
import { joinGang } from '../../../runtime/collectives/grpc/rendezvous.js';
import { tokenMetadata } from '../../../runtime/collectives/grpc/token.js';
import { GrpcCommunicator } from '../../../runtime/collectives/index.js';
import type { SdxlError } from '../../../runtime/errors/index.js';
import { fingerprint, freePort, rankOptions, token } from './gang.js';

describe('a false peer', () => {
  const ends: (() => unknown)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  /** Rank 0 is real; rank 1 serves whatever bytes it likes as frames. */
  const start = async (): Promise<{ zero: GrpcCommunicator; receive: ReceiveCall; watch: WatchCall }> => {
    const port = await freePort();
    const opening = GrpcCommunicator.open({ ...rankOptions(0, 2, port), timeouts: { abortMs: 200, closeMs: 200 } });
    const calls: { receive?: ReceiveCall; watch?: WatchCall } = {};
    // Frames are written as they are given.
    const { receive } = protocol();
    const encode = receive.responseSerialize;
    Object.assign(receive, { responseSerialize: (bytes: Buffer) => bytes });
    const host = await Host.open(
      { host: '127.0.0.1', port: 0 },
      { token, worldSize: 2, tls: undefined },
      {
        receive: (call) => {
          calls.receive = call;
          call.sendMetadata(new Metadata());
        },
        watch: (call) => {
          calls.watch = call;
          call.sendMetadata(new Metadata());
        },
        refused: () => undefined,
      },
    );
    Object.assign(receive, { responseSerialize: encode });
    ends.push(() => host.destroy());
    const metadata = tokenMetadata(token);
    const roster = await joinGang({
      coordinator: { host: '127.0.0.1', port },
      request: { rank: 1, worldSize: 2, address: { host: '127.0.0.1', port: host.port }, fingerprint },
      metadata,
      timeoutMs: 10_000,
      signal: new AbortController().signal,
    });
    const peer = new Peer(0, { host: '127.0.0.1', port }, 1 << 20, { failed: () => undefined, changed: () => undefined });
    ends.push(() => {
      peer.disconnect();
    });
    await peer.connect({ gang: roster.gang, rank: 1 }, metadata);
    const zero = await opening;
    ends.push(() => zero.close());
    assert.ok(calls.receive && calls.watch);
    return { zero, receive: calls.receive, watch: calls.watch };
  };

  const ended = (communicator: GrpcCommunicator): Promise<SdxlError> =>
    new Promise((resolve) => {
      const { failed } = communicator;
      const settle = (): void => {
        resolve(failed.reason as SdxlError);
      };
      if (failed.aborted) settle();
      else failed.addEventListener('abort', settle);
    });

  for (const [name, bytes, pattern] of [
    ['that sends no frame', Buffer.from('nonsense'), /rank 1 sent what is no frame of this protocol/u],
    ['that sends a frame cut off', Buffer.from([0x7a, 0x50, 0]), /cut off/u],
    ['that sends a frame above the limit', Buffer.alloc(maxFrameBytes + 1), /larger than max/u],
  ] as const) {
    it(name, async () => {
      const { zero, receive } = await start();
      receive.write(bytes as never);
      const error = await ended(zero);
      assert.deepEqual([error.code, error.fields['rank']], ['PROTOCOL_VIOLATION', 1]);
      assert.match(error.message, pattern);
    });
  }

  it('that ends its data stream without a goodbye, with an exchange outstanding', async () => {
    const { zero, receive } = await start();
    const pending = zero.exchange({ operation: 'halo', tag: 1, sends: [], receives: [{ peer: 1, parts: [new Uint8Array(4)] }] });
    const rejected = assert.rejects(pending, { code: 'PROTOCOL_VIOLATION' });
    receive.end();
    await rejected;
  });

  it('that ends its health stream without a goodbye', async () => {
    const { zero, watch } = await start();
    watch.end();
    const error = await ended(zero);
    assert.deepEqual([error.code, error.fields['rank']], ['PEER_LOST', 1]);
  });

  it('that ends a stream with an error', async () => {
    const { zero, receive } = await start();
    receive.emit('error', new Error('odd'));
    const error = await ended(zero);
    assert.deepEqual([error.code, error.fields['rank']], ['PEER_LOST', 1]);
    assert.match(error.message, /odd/u);
  });
});
