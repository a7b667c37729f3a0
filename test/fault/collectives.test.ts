/** Ranks as real processes, and what befalls them. Every case: each survivor ends, in time, and names the rank. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ExitCode, type ErrorCode, type SerializedError } from '../../runtime/errors/index.js';
import { fingerprint, freePort, rankOptions } from '../unit/collectives/gang.js';
import type { RankPlan } from './collectives-rank.js';
import { RankProcess, type RankEnd } from './rank-process.js';

/** Short, so that the tests are; far above what a stalled machine makes of them. */
const timeouts = {
  rendezvousMs: 60_000,
  exchangeMs: 60_000,
  heartbeatIntervalMs: 250,
  heartbeatTimeoutMs: 3_000,
  closeMs: 3_000,
  abortMs: 1_000,
};
/** What a process may take on top of a deadline: to be scheduled, to tear down, to exit. */
const slackMs = 15_000;

describe('a gang of processes', () => {
  let ranks: RankProcess[] = [];
  afterEach(async () => {
    await Promise.all(ranks.map((rank) => rank.destroy()));
    ranks = [];
  });

  const start = (rank: number, worldSize: number, port: number, change: Partial<RankPlan> = {}): RankProcess => {
    const options = { ...rankOptions(rank, worldSize, port), timeouts };
    const started = new RankProcess({ sizeBytes: 100_000, ...change, options: { ...options, ...change.options } });
    ranks.push(started);
    return started;
  };
  const startGang = async (worldSize: number, change: (rank: number) => Partial<RankPlan> = () => ({})): Promise<RankProcess[]> => {
    const port = await freePort();
    const gang = Array.from({ length: worldSize }, (_, rank) => start(rank, worldSize, port, change(rank)));
    await Promise.all(gang.map((rank) => rank.reported('exchanged', 0)));
    return gang;
  };
  /** All end within `withinMs` of now, with this code and this rank named. */
  const assertEnd = async (
    survivors: readonly RankProcess[],
    since: number,
    withinMs: number,
    code: ErrorCode,
    rank: number,
  ): Promise<SerializedError[]> => {
    const ends = await Promise.all(survivors.map((survivor) => survivor.ended));
    return ends.map((end) => {
      const error = failed(end);
      assert.deepEqual([error.code, error.fields['rank']], [code, rank], error.message);
      assert.ok(end.at - since < withinMs + slackMs, `took ${String(end.at - since)} ms`);
      return error;
    });
  };

  it('that closes ends well, each process by itself', async () => {
    const port = await freePort();
    const gang = [0, 1, 2].map((rank) => start(rank, 3, port, { closeAfter: 60 }));
    for (const end of await Promise.all(gang.map((rank) => rank.ended))) {
      assert.deepEqual([end.exitCode, end.signal, end.error], [0, null, null]);
    }
  });

  it('whose threads block right after barriers and exchanges leaves them whole', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sdxl-barrier-'));
    try {
      const port = await freePort();
      const change = { sizeBytes: 8, closeAfter: 1, blockAfterEach: { count: 60, directory } };
      const gang = [0, 1, 2].map((rank) => start(rank, 3, port, change));
      for (const end of await Promise.all(gang.map((rank) => rank.ended))) {
        assert.deepEqual([end.exitCode, end.signal, end.error], [0, null, null]);
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  for (const victim of [1, 0]) {
    it(`rank ${String(victim)} of 3 killed amid exchanges: the others name it at once`, async () => {
      const gang = await startGang(3, () => ({ sizeBytes: 2_000_000 }));
      const since = performance.now();
      gang[victim]?.signal('SIGKILL');
      const survivors = gang.filter((_, rank) => rank !== victim);
      await assertEnd(survivors, since, 0, 'PEER_LOST', victim);
      assert.deepEqual(
        (await Promise.all(survivors.map((rank) => rank.ended))).map(({ exitCode }) => exitCode),
        [ExitCode.retriable, ExitCode.retriable],
      );
    });
  }

  it('a stopped rank is named after the heartbeat deadline, and learns of it when it goes on', async () => {
    const gang = await startGang(3);
    const since = performance.now();
    gang[1]?.signal('SIGSTOP');
    await assertEnd([gang[0], gang[2]].filter(isRank), since, timeouts.heartbeatTimeoutMs, 'PEER_LOST', 1);
    gang[1]?.signal('SIGCONT');
    const end = await gang[1]?.ended;
    assert.ok(end);
    assert.equal(failed(end).code, 'PEER_LOST');
  });

  it('a rank that was stopped for less than the deadline goes on, and so does the gang', async () => {
    const gang = await startGang(2);
    gang[1]?.signal('SIGSTOP');
    await delay(1_000);
    gang[1]?.signal('SIGCONT');
    await Promise.all(gang.map((rank) => rank.reported('exchanged', 200)));
  });

  it('a rank that is alive but does not take part is named at the exchange deadline', async () => {
    const port = await freePort();
    const plan = (rank: number): Partial<RankPlan> => ({
      ...(rank === 1 ? { stallAfter: 5 } : {}),
      options: { ...rankOptions(rank, 2, port), timeouts: { ...timeouts, exchangeMs: 1_500 } },
    });
    const gang = [start(0, 2, port, plan(0)), start(1, 2, port, plan(1))];
    const [zero, one] = await Promise.all(gang.map((rank) => rank.ended));
    assert.ok(zero && one);
    assert.deepEqual(
      [failed(zero).code, failed(zero).fields['rank'], failed(zero).fields['operation'], failed(zero).fields['tag']],
      ['COLLECTIVE_TIMEOUT', 1, 'halo', 5],
    );
    assert.deepEqual([failed(one).code, failed(one).fields['causeCode']], ['PEER_ABORTED', 'COLLECTIVE_TIMEOUT']);
  });

  it('a rank that fails of its output takes the others with it, with its cause and its exit code', async () => {
    const port = await freePort();
    const gang = [0, 1, 2].map((rank) => start(rank, 3, port, rank === 2 ? { failAfter: 20 } : {}));
    const [zero, one, two] = await Promise.all(gang.map((rank) => rank.ended));
    assert.ok(zero && one && two);
    for (const end of [zero, one]) {
      const error = failed(end);
      assert.deepEqual([error.code, error.fields['rank'], error.fields['causeCode']], ['PEER_ABORTED', 2, 'OUTPUT_UNWRITABLE']);
      assert.match(error.message, /\/output\/0\.png/u);
    }
    assert.deepEqual(
      [zero, one, two].map(({ exitCode }) => exitCode),
      [ExitCode.environment, ExitCode.environment, ExitCode.environment],
    );
  });

  it('a rank with a wrong token ends with exit code 2, and the gang forms without it', async () => {
    const port = await freePort();
    const zero = start(0, 2, port, { closeAfter: 20 });
    const foreign = await start(1, 2, port, { options: { ...rankOptions(1, 2, port), timeouts, token: 'guessed' } }).ended;
    assert.deepEqual([failed(foreign).code, foreign.exitCode], ['UNAUTHENTICATED', ExitCode.invalidInput]);
    const one = start(1, 2, port, { closeAfter: 20 });
    for (const end of await Promise.all([zero.ended, one.ended])) assert.equal(end.exitCode, 0);
  });

  it('a rank with another fingerprint is named on every rank', async () => {
    const port = await freePort();
    const gang = [0, 1, 2].map((rank) =>
      start(rank, 3, port, {
        options: { ...rankOptions(rank, 3, port), timeouts, fingerprint: { ...fingerprint, ...(rank === 1 ? { plan: 'sha256:x' } : {}) } },
      }),
    );
    for (const error of await assertEnd(gang, performance.now(), timeouts.rendezvousMs, 'RENDEZVOUS_MISMATCH', 1)) {
      assert.deepEqual([error.fields['field'], error.fields['value'], error.fields['expected']], ['plan', 'sha256:x', 'sha256:1']);
    }
  });

  it('a rank that never starts is named by the others', async () => {
    const port = await freePort();
    const plan = (rank: number): Partial<RankPlan> => ({
      options: { ...rankOptions(rank, 3, port), timeouts: { ...timeouts, rendezvousMs: 3_000 } },
    });
    const since = performance.now();
    await assertEnd([start(0, 3, port, plan(0)), start(2, 3, port, plan(2))], since, 3_000, 'RENDEZVOUS_TIMEOUT', 1);
  });

  it('a second process of a rank is refused, and the gang forms', async () => {
    const port = await freePort();
    const plan = { closeAfter: 20 };
    const first = [start(0, 3, port, plan), start(1, 3, port, plan)];
    // The second of two, whichever it is, is the one that is refused.
    const second = start(1, 3, port, plan);
    const refused = await Promise.race([first[1]?.ended, second.ended]);
    assert.ok(refused);
    assert.deepEqual([failed(refused).code, refused.exitCode], ['RENDEZVOUS_MISMATCH', ExitCode.invalidInput]);
    const two = start(2, 3, port, plan);
    const codes = (await Promise.all([...first, second, two].map((rank) => rank.ended))).map(({ exitCode }) => exitCode);
    assert.deepEqual(codes.sort(), [0, 0, 0, ExitCode.invalidInput]);
  });

  it('a coordinator killed before the gang has formed is named at the rendezvous deadline', async () => {
    const port = await freePort();
    const zero = start(0, 3, port);
    const one = start(1, 3, port, { options: { ...rankOptions(1, 3, port), timeouts: { ...timeouts, rendezvousMs: 4_000 } } });
    await delay(1_500);
    zero.signal('SIGKILL');
    const error = failed(await one.ended);
    assert.equal(error.code, 'RENDEZVOUS_TIMEOUT');
  });

  it('garbage sent to a rank disturbs nobody', async () => {
    const port = await freePort();
    const gang = [0, 1].map((rank) => start(rank, 2, port));
    await Promise.all(gang.map((rank) => rank.reported('exchanged', 0)));
    for (const bytes of ['\0\xff\xfe', 'GET / HTTP/1.1\r\n\r\n', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\0\0\x04\x99'.repeat(300)}`]) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      socket.end(Buffer.from(bytes, 'latin1'));
      await delay(50);
      socket.destroy();
    }
    await Promise.all(gang.map((rank) => rank.reported('exchanged', 300)));
  });
});

function failed(end: RankEnd): SerializedError {
  assert.ok(end.error, `the rank ended with ${String(end.exitCode ?? end.signal)} and said ${JSON.stringify(end.error)}`);
  return end.error;
}

function isRank(rank: RankProcess | undefined): rank is RankProcess {
  return rank !== undefined;
}
