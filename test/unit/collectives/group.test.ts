/** A group is a communicator like any other, and groups of one gang do not see each other's messages. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { GroupCommunicator, SingleRank, type Communicator } from '../../../runtime/collectives/index.js';
import { SdxlError } from '../../../runtime/errors/index.js';
import { describeCommunicator, hostMemory } from '../../conformance/communicator.js';
import { openGang } from './gang.js';

describeCommunicator('a group of the whole gang', {
  ...hostMemory,
  maxWorldSize: 3,
  open: async (worldSize, { exchangeMs, observers }) => {
    const gang = await openGang(worldSize, (options, rank) => {
      const observer = observers?.[rank];
      return {
        ...options,
        timeouts: { ...options.timeouts, ...(exchangeMs === undefined ? {} : { exchangeMs }) },
        ...(observer === undefined ? {} : { observer }),
      };
    });
    return gang.map((communicator) => new GroupCommunicator(communicator, [...gang.keys()]));
  },
});

/** Ranks 0 and 1 are a group, and 2 and 3 are one. */
async function withTwoGroups(body: (groups: readonly Communicator[]) => Promise<void>): Promise<void> {
  const gang = await openGang(4);
  try {
    await body(gang.map((communicator, rank) => new GroupCommunicator(communicator, rank < 2 ? [0, 1] : [2, 3])));
  } finally {
    await Promise.all(gang.map((communicator) => communicator.close()));
  }
}

describe('two groups of one gang', () => {
  it('number their ranks from 0 and exchange under the same tags at the same time', async () => {
    await withTwoGroups(async (groups) => {
      assert.deepEqual(
        groups.map(({ rank, worldSize }) => [rank, worldSize]),
        [
          [0, 2],
          [1, 2],
          [0, 2],
          [1, 2],
        ],
      );
      const got = await Promise.all(
        groups.map(async (group, number) => {
          const [peer, received] = [1 - group.rank, new Uint8Array(1)];
          await group.exchange({
            operation: 'gather',
            tag: 3,
            sends: [{ peer, parts: [Uint8Array.of(number)] }],
            receives: [{ peer, parts: [received] }],
          });
          return received[0];
        }),
      );
      assert.deepEqual(got, [1, 0, 3, 2]);
    });
  });

  it("a group's barrier waits for its own members only", async () => {
    await withTwoGroups(async ([a, b, c, d]) => {
      assert(a !== undefined && b !== undefined && c !== undefined && d !== undefined);
      let passed = false;
      const first = a.barrier().then(() => (passed = true));
      await Promise.all([c.barrier(), d.barrier()]);
      await delay(50);
      assert.equal(passed, false);
      await b.barrier();
      await first;
    });
  });

  it('a failure in one ends the other, named by its number in the gang', async () => {
    await withTwoGroups(async ([a, , , d]) => {
      assert(a !== undefined && d !== undefined);
      await d.abort(new SdxlError('OUTPUT_UNWRITABLE', 'the disk is full'));
      if (!a.failed.aborted) await new Promise((heard) => a.failed.addEventListener('abort', heard, { once: true }));
      const error: unknown = a.failed.reason;
      assert(error instanceof SdxlError);
      assert.deepEqual([error.code, error.fields['rank'], error.exitCode], ['PEER_ABORTED', 3, 3]);
    });
  });

  it('refuse peers of the other', async () => {
    await withTwoGroups(async ([a]) => {
      const parts = [Uint8Array.of(1)];
      await assert.rejects(async () => a?.exchange({ operation: 'test', tag: 0, sends: [{ peer: 2, parts }], receives: [] }), {
        name: 'RangeError',
        message: 'rank 2 is not of this group of 2 ranks (0, 1 of the gang)',
      });
    });
  });

  it('a rank is in its group', () => {
    assert.throws(() => new GroupCommunicator(new SingleRank(), [1, 2]), RangeError);
  });
});
