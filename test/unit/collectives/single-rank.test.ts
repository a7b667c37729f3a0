import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SingleRank } from '../../../runtime/collectives/index.js';
import { SdxlError } from '../../../runtime/errors/index.js';

const nothing = { operation: 'test', tag: 0, sends: [], receives: [] };

describe('SingleRank', () => {
  it('is rank 0 of 1 and exchanges nothing with nobody', async () => {
    await using single = new SingleRank();
    assert.deepEqual([single.rank, single.worldSize], [0, 1]);
    await single.exchange(nothing);
    await single.barrier();
  });

  it('refuses peers', async () => {
    const single = new SingleRank();
    await assert.rejects(single.exchange({ ...nothing, sends: [{ peer: 1, parts: [] }] }), RangeError);
  });

  it('rejects with the reason of a signal', async () => {
    const reason = new Error('enough');
    await assert.rejects(new SingleRank().barrier(AbortSignal.abort(reason)), reason);
  });

  it('rejects everything after an abort, with its error', async () => {
    const single = new SingleRank();
    const error = new SdxlError('INTERNAL', 'defect');
    await single.abort(error);
    await single.abort(new SdxlError('INTERNAL', 'another'));
    assert.equal(single.failed.reason, error);
    await assert.rejects(single.exchange(nothing), error);
    await single.close();
  });

  it('may be closed twice; then calls reject and an abort is nothing', async () => {
    const single = new SingleRank();
    await Promise.all([single.close(), single.close()]);
    await single.abort(new SdxlError('INTERNAL', 'defect'));
    assert.equal(single.failed.aborted, false);
    await assert.rejects(single.barrier(), /after close/u);
  });
});
