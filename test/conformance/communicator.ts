/**
 * What every communicator must do, whatever carries its bytes: the contract of runtime/collectives/communicator.ts as a
 * suite. An implementation hands in how to open a gang and how to reach its memory from the host.
 */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import type { Communicator, CommunicatorObserver, Exchange, Message } from '../../runtime/collectives/index.js';
import { SdxlError } from '../../runtime/errors/index.js';

export interface CommunicatorHarness<Memory = Uint8Array> {
  /** Largest world the suite may ask for (one rank per device, perhaps). */
  readonly maxWorldSize: number;
  /** Whether the memory may lie over a SharedArrayBuffer. */
  readonly sharedMemory: boolean;
  /** Opens every rank of a world, in order of rank; `exchangeMs` is the deadline of one exchange. */
  open(worldSize: number, options: GangOptions): Promise<Communicator<Memory>[]>;
  /** Memory that holds `bytes`. */
  fill(bytes: Uint8Array): Memory;
  /** What the memory holds. */
  read(memory: Memory): Uint8Array;
  /** Throws when something of a closed gang is still alive. */
  assertReleased?(): void | Promise<void>;
}

export interface GangOptions {
  readonly exchangeMs?: number;
  readonly observers?: readonly CommunicatorObserver[];
}

/** The harness of communicators over host memory. */
export const hostMemory = {
  sharedMemory: true,
  fill: (bytes: Uint8Array): Uint8Array => bytes.slice(),
  read: (memory: Uint8Array): Uint8Array => memory,
} as const;

export function describeCommunicator<Memory>(name: string, harness: CommunicatorHarness<Memory>): void {
  const { fill, read } = harness;
  const empty = (size: number): Memory => fill(new Uint8Array(size));

  describe(name, () => {
    let gang: Communicator<Memory>[] = [];
    const open = async (worldSize: number, options: GangOptions = {}): Promise<Communicator<Memory>[]> =>
      (gang = await harness.open(worldSize, options));
    afterEach(async () => {
      await Promise.all(gang.map((rank) => rank.close()));
      gang = [];
      await harness.assertReleased?.();
    });
    const worlds = [2, 3, 4].filter((size) => size <= harness.maxWorldSize);

    /** Every rank sends every other rank a message of `size` bytes in one exchange and checks what it gets. */
    const allToAll = async (ranks: readonly Communicator<Memory>[], size: number, tag: number): Promise<void> => {
      await Promise.all(
        ranks.map(async (communicator) => {
          const { rank, worldSize } = communicator;
          const peers = others(rank, worldSize);
          const receives = peers.map((peer) => ({ peer, parts: [empty(size)] }));
          const sends = peers.map((peer) => ({ peer, parts: [fill(pattern(size, rank, peer, tag))] }));
          await communicator.exchange({ operation: 'gather', tag, sends, receives });
          for (const { peer, parts } of receives) assertBytes(read(at(parts, 0)), pattern(size, peer, rank, tag));
        }),
      );
    };

    for (const worldSize of worlds) {
      it(`${String(worldSize)} ranks: know their place`, async () => {
        const ranks = await open(worldSize);
        assert.deepEqual(
          ranks.map((rank) => [rank.rank, rank.worldSize, rank.failed.aborted]),
          ranks.map((_, rank) => [rank, worldSize, false]),
        );
      });

      for (const size of [0, 1, 1000, 100_003, 3 * (1 << 20) + 5]) {
        it(`${String(worldSize)} ranks: all to all, ${String(size)} bytes`, async () => {
          await allToAll(await open(worldSize), size, 7);
        });
      }

      it(`${String(worldSize)} ranks: a chain of neighbours, whose ends have one neighbour only`, async () => {
        const ranks = await open(worldSize);
        await Promise.all(
          ranks.map(async (communicator) => {
            const { rank } = communicator;
            const neighbours = [rank - 1, rank + 1].filter((peer) => peer >= 0 && peer < worldSize);
            const receives = neighbours.map((peer) => ({ peer, parts: [empty(300), empty(5)] }));
            await communicator.exchange({
              operation: 'group_norm_halo',
              tag: 1,
              sends: neighbours.map((peer) => ({
                peer,
                parts: [fill(pattern(300, rank, peer, 1)), fill(pattern(5, rank, peer, 2))],
              })),
              receives,
            });
            for (const { peer, parts } of receives) {
              assertBytes(read(at(parts, 0)), pattern(300, peer, rank, 1));
              assertBytes(read(at(parts, 1)), pattern(5, peer, rank, 2));
            }
          }),
        );
      });

      it(`${String(worldSize)} ranks: one way round a ring, sizes differ by rank`, async () => {
        const ranks = await open(worldSize);
        await Promise.all(
          ranks.map(async (communicator) => {
            const { rank } = communicator;
            const [next, previous] = [(rank + 1) % worldSize, (rank + worldSize - 1) % worldSize];
            const received = empty(previous * 1000);
            await communicator.exchange({
              operation: 'halo',
              tag: 3,
              sends: [{ peer: next, parts: [fill(pattern(rank * 1000, rank, next, 3))] }],
              receives: [{ peer: previous, parts: [received] }],
            });
            assertBytes(read(received), pattern(previous * 1000, previous, rank, 3));
          }),
        );
      });

      it(`${String(worldSize)} ranks: one sends, the others only receive`, async () => {
        const ranks = await open(worldSize);
        const received = ranks.map(() => empty(64));
        await Promise.all(
          ranks.map((communicator, rank) =>
            communicator.exchange({
              operation: 'broadcast',
              tag: 4,
              sends: rank === 0 ? others(0, worldSize).map((peer) => ({ peer, parts: [fill(pattern(64, 0, peer, 4))] })) : [],
              receives: rank === 0 ? [] : [{ peer: 0, parts: [at(received, rank)] }],
            }),
          ),
        );
        for (const rank of others(0, worldSize)) assertBytes(read(at(received, rank)), pattern(64, 0, rank, 4));
      });

      it(`${String(worldSize)} ranks: a barrier holds until the last has come`, async () => {
        const ranks = await open(worldSize);
        let arrived = 0;
        await Promise.all(
          ranks.map(async (communicator, rank) => {
            await delay(rank * 20);
            arrived++;
            await communicator.barrier();
            assert.equal(arrived, worldSize);
          }),
        );
      });
    }

    it('ranges are cut differently on the two sides', async () => {
      const [a, b] = pair(await open(2));
      const bytes = pattern(2_000_000, 0, 1, 5);
      const cuts = [0, 1, 1, 700_000, 700_003, 2_000_000];
      const parts = [empty(1_999_990), empty(0), empty(3), empty(7)];
      await Promise.all([
        a.exchange(
          send(
            1,
            cuts.slice(1).map((end, index) => fill(bytes.subarray(cuts[index], end))),
          ),
        ),
        b.exchange(receive(0, parts)),
      ]);
      assertBytes(Buffer.concat(parts.map(read)), bytes);
    });

    it('several messages to one peer in one exchange keep their order', async () => {
      const [a, b] = pair(await open(2));
      const parts = [empty(10), empty(10)];
      const message = (tag: number): Message<Memory> => ({ peer: 1, parts: [fill(pattern(10, 0, 1, tag))] });
      await Promise.all([
        a.exchange({ operation: 'test', tag: 9, sends: [message(1), message(2)], receives: [] }),
        b.exchange({ operation: 'test', tag: 9, sends: [], receives: parts.map((part) => ({ peer: 0, parts: [part] })) }),
      ]);
      parts.forEach((part, index) => {
        assertBytes(read(part), pattern(10, 0, 1, index + 1));
      });
    });

    it('many exchanges are outstanding at once and complete in order', async () => {
      const ranks = await open(2);
      const count = 200;
      const size = 2000;
      await Promise.all(
        ranks.map(async (communicator) => {
          const peer = 1 - communicator.rank;
          const done: number[] = [];
          const received = Array.from({ length: count }, () => empty(size));
          await Promise.all(
            received.map(async (memory, tag) => {
              await communicator.exchange({
                operation: 'halo',
                tag,
                sends: [{ peer, parts: [fill(pattern(size, communicator.rank, peer, tag))] }],
                receives: [{ peer, parts: [memory] }],
              });
              done.push(tag);
            }),
          );
          assert.deepEqual(
            done,
            [...done].sort((a, b) => a - b),
          );
          received.forEach((memory, tag) => {
            assertBytes(read(memory), pattern(size, peer, communicator.rank, tag));
          });
        }),
      );
    });

    it('messages may come long before they are asked for', async () => {
      const [a, b] = pair(await open(2));
      const size = 1 << 20;
      const count = 12;
      const sent = Array.from({ length: count }, (_, tag) => a.exchange(send(1, [fill(pattern(size, 0, 1, tag))], tag)));
      await delay(100);
      for (let tag = 0; tag < count; tag++) {
        const memory = empty(size);
        await b.exchange(receive(0, [memory], tag));
        assertBytes(read(memory), pattern(size, 0, 1, tag));
      }
      await Promise.all(sent);
    });

    it('what is sent may be overwritten as soon as the exchange has resolved', async () => {
      const [a, b] = pair(await open(2));
      const source = fill(pattern(100_000, 0, 1, 1));
      await a.exchange(send(1, [source], 1));
      read(source).fill(0);
      const memory = empty(100_000);
      await b.exchange(receive(0, [memory], 1));
      if (read(source) === source) assertBytes(read(memory), pattern(100_000, 0, 1, 1));
    });

    it('tags reach from 0 to 2³² − 1', async () => {
      const ranks = await open(2);
      for (const tag of [0, 1, 2 ** 31, 2 ** 32 - 1]) await allToAll(ranks, 16, tag);
    });

    it('an exchange with nobody resolves', async () => {
      const [a] = pair(await open(2));
      await a.exchange({ operation: 'nothing', tag: 0, sends: [], receives: [] });
    });

    it('the observer sees each exchange with its operation and bytes', async () => {
      const seen: Parameters<CommunicatorObserver['exchanged']>[0][][] = [[], []];
      const [a, b] = pair(await open(2, { observers: seen.map((events) => ({ exchanged: (event) => void events.push(event) })) }));
      await Promise.all([a.exchange(send(1, [empty(10), empty(20)])), b.exchange(receive(0, [empty(30)]))]);
      assert.deepEqual(
        seen.map((events) => events.map(({ operation, sentBytes, receivedBytes }) => [operation, sentBytes, receivedBytes])),
        [[['test', 30, 0]], [['test', 0, 30]]],
      );
      assert.ok(seen.flat().every(({ seconds }) => seconds >= 0 && seconds < 60));
    });

    if (harness.sharedMemory) {
      it('ranges may lie over shared memory, on both sides', async () => {
        const ranks = await open(2);
        const shared = (bytes: Uint8Array): Uint8Array => {
          const view = new Uint8Array(new SharedArrayBuffer(bytes.length + 3), 3);
          view.set(bytes);
          return view;
        };
        for (const size of [10, 1_500_000]) {
          await Promise.all(
            ranks.map(async (communicator) => {
              const { rank } = communicator;
              const peer = 1 - rank;
              const received = shared(new Uint8Array(size));
              // Of harnesses with shared memory, Memory is Uint8Array.
              await (communicator as unknown as Communicator).exchange({
                operation: 'halo',
                tag: 1,
                sends: [{ peer, parts: [shared(pattern(size, rank, peer, 1))] }],
                receives: [{ peer, parts: [received] }],
              });
              assertBytes(received, pattern(size, peer, rank, 1));
            }),
          );
        }
      });
    }

    it('another tag at the receiver is a protocol violation that names both', async () => {
      const ranks = await open(2);
      const [a, b] = pair(ranks);
      const results = await settle([a.exchange(send(1, [empty(8)], 5)), b.exchange(receive(0, [empty(8)], 6))]);
      const error = asSdxlError(results[1]);
      assert.equal(error.code, 'PROTOCOL_VIOLATION');
      assert.deepEqual([error.fields['rank'], error.fields['sentTag'], error.fields['expectedTag']], [0, 5, 6]);
      await assertPeerAborted(a, 1, 'PROTOCOL_VIOLATION');
    });

    it('another size at the receiver is a protocol violation that names both', async () => {
      const [a, b] = pair(await open(2));
      const results = await settle([a.exchange(send(1, [empty(8)])), b.exchange(receive(0, [empty(9)]))]);
      const error = asSdxlError(results[1]);
      assert.equal(error.code, 'PROTOCOL_VIOLATION');
      assert.deepEqual([error.fields['rank'], error.fields['sentBytes'], error.fields['expectedBytes']], [0, 8, 9]);
      await assertPeerAborted(a, 1, 'PROTOCOL_VIOLATION');
    });

    it('a barrier does not match an exchange', async () => {
      const [a, b] = pair(await open(2));
      const results = await settle([a.barrier(), b.exchange({ ...receive(0, [empty(0)], 0), sends: [{ peer: 0, parts: [] }] })]);
      const codes = results.map((result) => asSdxlError(result).code);
      assert.ok(codes.includes('PROTOCOL_VIOLATION'), codes.join());
    });

    it('a peer that does not deliver is named at the deadline', async () => {
      const [a, b] = pair(await open(2, { exchangeMs: 300 }));
      const error = await rejection(a.exchange(receive(1, [empty(4)], 11)));
      assert.ok(error instanceof SdxlError);
      assert.equal(error.code, 'COLLECTIVE_TIMEOUT');
      assert.deepEqual([error.fields['rank'], error.fields['operation'], error.fields['tag']], [1, 'test', 11]);
      await assertPeerAborted(b, 0, 'COLLECTIVE_TIMEOUT');
    });

    it('a rank that never comes to a barrier is named at the deadline', async () => {
      const ranks = await open(Math.min(3, harness.maxWorldSize), { exchangeMs: 300 });
      const late = ranks.length - 1;
      const errors = (await settle(ranks.slice(0, late).map((rank) => rank.barrier()))).map(asSdxlError);
      const timeout = errors.find(({ code }) => code === 'COLLECTIVE_TIMEOUT');
      assert.deepEqual(timeout?.fields['ranks'], [late]);
    });

    it('abort reaches every rank, with the rank that failed, the cause and its exit code', async () => {
      const size = harness.maxWorldSize >= 4 ? 4 : harness.maxWorldSize;
      const ranks = await open(size);
      const waiting = ranks.map((communicator) => rejection(communicator.exchange(receiveFromAll(communicator))));
      const cause = new SdxlError('OUTPUT_UNWRITABLE', 'out/0.png cannot be written', { fields: { path: 'out/0.png' } });
      await at(ranks, 1).abort(cause);
      const errors = await Promise.all(waiting);
      for (const [rank, communicator] of ranks.entries()) {
        if (rank === 1) {
          assert.equal(communicator.failed.reason, cause);
          assert.equal(errors[rank], cause);
          continue;
        }
        await assertPeerAborted(communicator, 1, 'OUTPUT_UNWRITABLE');
        const error = errors[rank];
        assert.ok(error instanceof SdxlError);
        assert.equal(error, communicator.failed.reason);
        assert.equal(error.exitCode, cause.exitCode, 'a cause that must not be retried ends every rank alike');
        assert.match(error.message, /out\/0\.png cannot be written/u);
        assert.equal(await rejection(communicator.barrier()), error);
      }
    });

    it('when two ranks fail at once, every rank ends with one of the two', async () => {
      const ranks = await open(Math.min(3, harness.maxWorldSize));
      const failure = (rank: number): SdxlError => new SdxlError('ENGINE_RUN_FAILED', `engine ${String(rank)}`);
      await Promise.all([at(ranks, 0).abort(failure(0)), at(ranks, 1).abort(failure(1))]);
      for (const communicator of ranks) {
        const error = await failureOf(communicator);
        assert.match(error.message, /engine [01]/u);
      }
    });

    it('an aborted signal rejects the call with its reason and ends the gang', async () => {
      const [a, b] = pair(await open(2));
      const controller = new AbortController();
      const reason = new Error('enough');
      const pending = rejection(a.exchange(receive(1, [empty(4)]), controller.signal));
      controller.abort(reason);
      assert.equal(await pending, reason);
      await assertPeerAborted(b, 0, 'CANCELLED');
      assert.equal((await failureOf(b)).retriable, true);
    });

    it('a signal aborted before the call rejects and leaves the gang alone', async () => {
      const ranks = await open(2);
      const reason = new Error('too late');
      assert.equal(await rejection(at(ranks, 0).barrier(AbortSignal.abort(reason))), reason);
      assert.equal(await rejection(at(ranks, 0).exchange(receive(1, [empty(1)]), AbortSignal.abort(reason))), reason);
      await allToAll(ranks, 10, 1);
    });

    it('refuses peers that are not of its world', async () => {
      const ranks = await open(2);
      for (const peer of [0, 2, -1]) assert.ok((await rejection(at(ranks, 0).exchange(send(peer, [empty(1)])))) instanceof RangeError);
      await allToAll(ranks, 10, 1);
    });

    it('close is no death: what was sent before it arrives, and nobody fails', async () => {
      const [a, b] = pair(await open(2));
      const sent = a.exchange(send(1, [fill(pattern(3_000_000, 0, 1, 1))]));
      const closing = a.close();
      await delay(100);
      const memory = empty(3_000_000);
      await b.exchange(receive(0, [memory]));
      assertBytes(read(memory), pattern(3_000_000, 0, 1, 1));
      await Promise.all([sent, closing, b.close()]);
      assert.deepEqual([a.failed.aborted, b.failed.aborted], [false, false]);
    });

    it('an exchange with a peer that has closed fails at once and names it', async () => {
      const [a, b] = pair(await open(2));
      const closing = a.close();
      const error = await rejection(b.exchange(receive(0, [empty(4)])));
      assert.ok(error instanceof SdxlError);
      assert.deepEqual([error.code, error.fields['rank']], ['PROTOCOL_VIOLATION', 0]);
      await closing;
    });

    it('may be closed and aborted twice and in any order; then calls reject', async () => {
      const ranks = await open(2);
      const [a, b] = pair(ranks);
      const error = new SdxlError('INTERNAL', 'defect');
      await Promise.all([a.close(), a.close(), b.close()]);
      await Promise.all([a.abort(error), b.close(), b.abort(error), b.close()]);
      for (const communicator of ranks) {
        assert.equal(communicator.failed.aborted, false, 'a closed gang does not fail any more');
        assert.ok((await rejection(communicator.barrier())) instanceof Error);
        assert.ok((await rejection(communicator.exchange(send(1 - communicator.rank, [empty(1)])))) instanceof Error);
      }
    });

    it('abort, then close, then abort again', async () => {
      const [a, b] = pair(await open(2));
      const error = new SdxlError('INTERNAL', 'defect');
      await Promise.all([a.abort(error), a.close(), a.abort(new SdxlError('INTERNAL', 'another'))]);
      assert.equal(a.failed.reason, error);
      await assertPeerAborted(b, 0, 'INTERNAL');
      await b.close();
    });

    it('any pattern of exchanges delivers every byte to its place', async () => {
      const worldSize = Math.min(3, harness.maxWorldSize);
      const ranks = await open(worldSize);
      let tag = 0;
      const transfer = fc.record({
        from: fc.nat(worldSize - 1),
        hop: fc.integer({ min: 1, max: worldSize - 1 }),
        sizes: fc.array(fc.oneof(fc.nat(40), fc.nat(70_000)), { maxLength: 4 }),
      });
      const step = fc.record({ transfers: fc.array(transfer, { maxLength: 6 }), wait: fc.boolean() });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
          const checks: (() => void)[] = [];
          let under: Promise<void>[] = [];
          for (const { transfers, wait } of steps) {
            tag++;
            const plan = transfers.map(({ from, hop, sizes }, index) => {
              const to = (from + hop) % worldSize;
              const bytes = sizes.map((size) => pattern(size, from, to, tag * 31 + index));
              const received = sizes.map(empty);
              checks.push(() => {
                bytes.forEach((expected, part) => {
                  assertBytes(read(at(received, part)), expected);
                });
              });
              return { from, to, sent: bytes.map(fill), received };
            });
            for (const communicator of ranks) {
              const { rank } = communicator;
              under.push(
                communicator.exchange({
                  operation: 'random',
                  tag,
                  sends: plan.filter(({ from }) => from === rank).map(({ to, sent }) => ({ peer: to, parts: sent })),
                  receives: plan.filter(({ to }) => to === rank).map(({ from, received }) => ({ peer: from, parts: received })),
                }),
              );
            }
            if (!wait) continue;
            await Promise.all(under);
            under = [];
          }
          await Promise.all(under);
          for (const check of checks) check();
        }),
        { numRuns: 40 },
      );
    });
  });

  function send(peer: number, parts: readonly Memory[], tag = 1): Exchange<Memory> {
    return { operation: 'test', tag, sends: [{ peer, parts }], receives: [] };
  }

  function receive(peer: number, parts: readonly Memory[], tag = 1): Exchange<Memory> {
    return { operation: 'test', tag, sends: [], receives: [{ peer, parts }] };
  }

  function receiveFromAll({ rank, worldSize }: Communicator<Memory>): Exchange<Memory> {
    return {
      operation: 'test',
      tag: 1,
      sends: [],
      receives: others(rank, worldSize).map((peer) => ({ peer, parts: [fill(new Uint8Array(4))] })),
    };
  }
}

/** Bytes that tell sender, receiver and tag apart. */
function pattern(size: number, from: number, to: number, tag: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let value = from * 61 + to * 17 + tag * 7 + 1;
  for (let index = 0; index < size; index++) {
    value = (Math.imul(value, 1_103_515_245) + 12_345) >>> 0;
    bytes[index] = value >>> 16;
  }
  return bytes;
}

function others(rank: number, worldSize: number): number[] {
  return Array.from({ length: worldSize }, (_, peer) => peer).filter((peer) => peer !== rank);
}

function assertBytes(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(Buffer.compare(actual, expected), 0, `${String(expected.length)} bytes differ from what was sent`);
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`no item ${String(index)} of ${String(items.length)}`);
  return item;
}

function pair<T>(items: readonly T[]): [T, T] {
  return [at(items, 0), at(items, 1)];
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  assert.fail(`resolved with ${String(value)} where a rejection was due`);
}

function settle(promises: readonly Promise<unknown>[]): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled(promises);
}

function asSdxlError(result: PromiseSettledResult<unknown> | undefined): SdxlError {
  assert.equal(result?.status, 'rejected');
  assert.ok(result.reason instanceof SdxlError);
  return result.reason;
}

/** The error the gang ended with at this rank, once it has; fails after a while. */
async function failureOf(communicator: Pick<Communicator, 'failed'>): Promise<SdxlError> {
  const { failed } = communicator;
  const patience = AbortSignal.timeout(20_000);
  if (!failed.aborted) {
    await new Promise<void>((resolve, reject) => {
      failed.addEventListener('abort', () => {
        resolve();
      });
      patience.addEventListener('abort', () => {
        reject(new Error('this rank has not heard of the failure'));
      });
    });
  }
  assert.ok(failed.reason instanceof SdxlError);
  return failed.reason;
}

async function assertPeerAborted(communicator: Pick<Communicator, 'failed'>, rank: number, causeCode: string): Promise<void> {
  const error = await failureOf(communicator);
  assert.deepEqual([error.code, error.fields['rank'], error.fields['causeCode']], ['PEER_ABORTED', rank, causeCode]);
}
