import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { createClient } from '../../../runtime/collectives/grpc/channel.js';
import { protocol, type Subscription } from '../../../runtime/collectives/grpc/protocol.js';
import { tokenMetadata } from '../../../runtime/collectives/grpc/token.js';
import { GrpcCommunicator, type GrpcCommunicatorOptions } from '../../../runtime/collectives/index.js';
import { SdxlError } from '../../../runtime/errors/index.js';
import { fingerprint, freePort, liveSockets, openGang, rankOptions, token } from './gang.js';

const before = liveSockets().length;

describe('rendezvous', () => {
  let port: number;
  let opened: GrpcCommunicator[] = [];

  afterEach(async () => {
    await Promise.all(opened.map((communicator) => communicator.close()));
    opened = [];
    for (let turn = 0; turn < 50 && liveSockets().length > before; turn++) await delay(20);
    assert.equal(liveSockets().length, before, `still open: ${liveSockets().join()}`);
  });

  const start = async (
    rank: number,
    worldSize: number,
    change: Partial<GrpcCommunicatorOptions> = {},
    rendezvousMs = 30_000,
  ): Promise<GrpcCommunicator> => {
    const options = rankOptions(rank, worldSize, port);
    const communicator = await GrpcCommunicator.open({
      ...options,
      ...change,
      timeouts: { ...options.timeouts, rendezvousMs, ...change.timeouts },
    });
    opened.push(communicator);
    return communicator;
  };
  const rejects = async (promise: Promise<unknown>): Promise<SdxlError> => {
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof SdxlError, `an SdxlError was due: ${String(error)}`);
    return error;
  };

  const hasIpv6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1'));
  for (const host of ['::1', '::']) {
    it(`meets over IPv6, listening on ${host}`, { skip: !hasIpv6 && 'no IPv6 loopback' }, async () => {
      port = await freePort();
      const change = { coordinator: { host: '::1', port }, listen: { host, port: 0 } };
      const gang = await Promise.all([0, 1].map((rank) => start(rank, 2, change)));
      await Promise.all(gang.map((communicator) => communicator.barrier()));
    });
  }

  it('tells once of a host whose callers do not know the token', async () => {
    port = await freePort();
    const refused: string[] = [];
    const zero = start(0, 2, { onRefused: (host) => refused.push(host) });
    for (let attempt = 0; attempt < 2; attempt++) {
      assert.equal((await rejects(start(1, 2, { token: 'another token' }))).code, 'UNAUTHENTICATED');
    }
    await Promise.all([zero, start(1, 2)]);
    assert.deepEqual(refused, ['127.0.0.1']);
  });

  it('waits for a coordinator that comes later', async () => {
    port = await freePort();
    const one = start(1, 2);
    await delay(400);
    await Promise.all([one, start(0, 2)]);
    await Promise.all(opened.map((communicator) => communicator.barrier()));
  });

  it('a rank behind a wildcard address advertises where the coordinator sees it come from', async () => {
    port = await freePort();
    const listen = { host: '0.0.0.0', port: 0 };
    await Promise.all([start(0, 2, { listen }), start(1, 2, { listen })]);
    await Promise.all(opened.map((communicator) => communicator.barrier()));
  });

  it('works by name', async () => {
    port = await freePort();
    const named = { coordinator: { host: 'localhost', port }, listen: { host: '127.0.0.1', port: 0, advertise: 'localhost' } };
    await Promise.all([start(0, 2, named), start(1, 2, named)]);
    await Promise.all(opened.map((communicator) => communicator.barrier()));
  });

  it('every rank is told which ranks are missing', async () => {
    port = await freePort();
    const errors = await Promise.all([rejects(start(0, 4, {}, 1_000)), rejects(start(2, 4, {}, 3_000))]);
    for (const error of errors) {
      assert.equal(error.code, 'RENDEZVOUS_TIMEOUT');
      assert.deepEqual(error.fields['ranks'], [1, 3]);
    }
  });

  it('a rank whose own deadline comes first knows who is missing as well', async () => {
    port = await freePort();
    const zero = rejects(start(0, 3, {}, 2_500));
    const error = await rejects(start(1, 3, {}, 800));
    assert.equal(error.code, 'RENDEZVOUS_TIMEOUT');
    assert.deepEqual(error.fields['ranks'], [2]);
    assert.deepEqual((await zero).fields['ranks'], [1, 2], 'the rank that gave up has left its seat');
  });

  it('a coordinator that never answers is named, with its address and the reason', async () => {
    port = await freePort();
    const error = await rejects(start(1, 2, {}, 500));
    assert.equal(error.code, 'RENDEZVOUS_TIMEOUT');
    assert.deepEqual([error.fields['rank'], error.fields['port']], [0, port]);
    assert.match(error.message, /ECONNREFUSED|UNAVAILABLE/u);
  });

  it('a name that does not resolve is waited for and then named', async () => {
    port = await freePort();
    const error = await rejects(start(1, 2, { coordinator: { host: 'no-such-host.invalid', port } }, 500));
    assert.equal(error.code, 'RENDEZVOUS_TIMEOUT');
    assert.match(error.message, /no-such-host\.invalid/u);
  });

  it('every rank names the odd one, the field and both values', async () => {
    port = await freePort();
    const odd = { fingerprint: { ...fingerprint, modelDigest: 'sha256:other' } };
    const errors = await Promise.all([rejects(start(0, 3)), rejects(start(1, 3)), rejects(start(2, 3, odd))]);
    for (const error of errors) {
      assert.equal(error.code, 'RENDEZVOUS_MISMATCH');
      const { field, rank, value, expected } = error.fields;
      assert.deepEqual({ field, rank, value, expected }, { field: 'modelDigest', rank: 2, value: 'sha256:other', expected: 'sha256:0' });
    }
  });

  it('a rank with a wrong token ends with a clear error and does not disturb the gang', async () => {
    port = await freePort();
    const zero = start(0, 2);
    const error = await rejects(start(1, 2, { token: 'guessed' }));
    assert.equal(error.code, 'UNAUTHENTICATED');
    assert.match(error.message, /give every rank of the job the same token/u);
    await Promise.all([zero, start(1, 2)]);
    await Promise.all(opened.map((communicator) => communicator.barrier()));
  });

  it('a second process of a rank, and one of another world, are refused; the gang forms', async () => {
    port = await freePort();
    const zero = start(0, 3);
    const one = start(1, 3);
    await delay(300);
    const [duplicate, foreign] = await Promise.all([rejects(start(1, 3)), rejects(start(2, 4))]);
    assert.match(duplicate.message, /rank 1 has already joined/u);
    assert.match(foreign.message, /rank 2 was started for 4 ranks, this gang has 3/u);
    assert.deepEqual([duplicate.code, foreign.code], ['RENDEZVOUS_MISMATCH', 'RENDEZVOUS_MISMATCH']);
    await Promise.all([zero, one, start(2, 3)]);
    const late = await rejects(start(1, 3));
    assert.deepEqual([late.code, late.retriable], ['RENDEZVOUS_REFUSED', true]);
    await Promise.all(opened.map((communicator) => communicator.barrier()));
  });

  it('giving up by signal rejects with its reason, and frees the seat', async () => {
    port = await freePort();
    const zero = start(0, 3);
    const controller = new AbortController();
    const reason = new Error('enough');
    const given = assert.rejects(start(1, 3, { signal: controller.signal }), reason);
    await delay(200);
    controller.abort(reason);
    await given;
    await Promise.all([zero, start(1, 3), start(2, 3)]);
  });

  it('a coordinator that gives up tells those who wait', async () => {
    port = await freePort();
    const controller = new AbortController();
    const zero = assert.rejects(start(0, 3, { signal: controller.signal }), { code: 'MODEL_NOT_FOUND' });
    const one = rejects(start(1, 3, {}, 5_000));
    await delay(300);
    controller.abort(new SdxlError('MODEL_NOT_FOUND', 'no model at /models/x'));
    await zero;
    const error = await one;
    assert.equal(error.code, 'PEER_ABORTED');
    assert.deepEqual([error.fields['rank'], error.fields['causeCode'], error.exitCode], [0, 'MODEL_NOT_FOUND', 2]);
  });

  it('an address in use is an error that names it', async () => {
    port = await freePort();
    const zero = start(0, 2);
    const error = await rejects(start(0, 2));
    assert.equal(error.code, 'ADDRESS_UNAVAILABLE');
    assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${String(port)}`, 'u'));
    await Promise.all([zero, start(1, 2)]);
  });

  it('refuses options that cannot be, by name', async () => {
    port = 7000;
    for (const [change, name] of [
      [{ rank: 2 }, 'rank'],
      [{ worldSize: 1 }, 'worldSize'],
      [{ coordinator: { host: 'x', port: 0 } }, 'coordinator.port'],
      [{ rank: 0, listen: { host: 'x', port: 1 } }, 'listen.port'],
      [{ token: '' }, 'token'],
      [{ timeouts: { heartbeatIntervalMs: 10, heartbeatTimeoutMs: 10 } }, 'timeouts.heartbeatTimeoutMs'],
    ] satisfies [Partial<GrpcCommunicatorOptions>, string][]) {
      await assert.rejects(start(1, 2, change), (error) => error instanceof RangeError && error.message.startsWith(name));
    }
  });
});

describe('foreign peers', () => {
  it('are refused by what they lack, and the gang goes on', async () => {
    let port = 0;
    const gang = await openGang(2, (options) => {
      port = options.coordinator.port;
      return options;
    });
    const subscribe = async (metadata: Metadata, subscription: Subscription): Promise<ServiceError> => {
      const { path, requestSerialize, responseDeserialize } = protocol().receive;
      const client = createClient({ host: '127.0.0.1', port }, undefined);
      const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, subscription, metadata);
      const error = await new Promise<ServiceError>((resolve) => call.on('error', resolve).resume());
      client.close();
      return error;
    };
    const subscription = { gang: 'another', rank: 1 };
    assert.equal((await subscribe(new Metadata(), subscription)).code, status.UNAUTHENTICATED);
    assert.equal((await subscribe(tokenMetadata('guessed'), subscription)).code, status.UNAUTHENTICATED);
    assert.equal((await subscribe(tokenMetadata(token), subscription)).code, status.FAILED_PRECONDITION);

    const garbage = ['\0\x01\x02 not HTTP', 'GET / HTTP/1.1\r\n\r\n', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(500)}`];
    for (const bytes of garbage) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      socket.write(Buffer.from(bytes, 'latin1'));
      await delay(50);
      socket.destroy();
    }
    await Promise.all(gang.map((communicator) => communicator.barrier()));
    assert.ok(gang.every(({ failed }) => !failed.aborted));
    await Promise.all(gang.map((communicator) => communicator.close()));
  });
});
