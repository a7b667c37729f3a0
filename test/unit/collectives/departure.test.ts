import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Exchange } from '../../../runtime/collectives/index.js';
import { openGang } from './gang.js';

describe('a rank that is done before the others', () => {
  it('closes, waits for its deadline and goes; the others go on without it', async () => {
    const gang = await openGang(3, (options, rank) => ({
      ...options,
      timeouts: { ...options.timeouts, closeMs: rank === 2 ? 200 : 3_000, heartbeatIntervalMs: 100, heartbeatTimeoutMs: 1_500 },
    }));
    const [zero, one, two] = gang;
    assert.ok(zero && one && two);
    await two.close();
    // Long enough for its silence to count, if it did.
    await delay(2_500);
    const between = (peer: number): Exchange => ({
      operation: 'halo',
      tag: 1,
      sends: [{ peer, parts: [new Uint8Array(10)] }],
      receives: [{ peer, parts: [new Uint8Array(10)] }],
    });
    await Promise.all([zero.exchange(between(1)), one.exchange(between(0))]);
    assert.deepEqual(
      gang.map(({ failed }) => failed.aborted),
      [false, false, false],
    );
    await assert.rejects(zero.barrier(), { code: 'PROTOCOL_VIOLATION', message: /rank 2 has closed/u });
    await Promise.all([zero.close(), one.close()]);
  });
});
