/** Networks between processes that are cut or slow, at random times: through a proxy on an address of its own for each rank. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FaultProxy } from '../support/fault-proxy.js';
import { freePort, rankOptions } from '../unit/collectives/gang.js';
import { RankProcess } from './rank-process.js';

const timeouts = {
  rendezvousMs: 60_000,
  exchangeMs: 60_000,
  heartbeatIntervalMs: 250,
  heartbeatTimeoutMs: 3_000,
  closeMs: 3_000,
  abortMs: 1_000,
};
const slackMs = 15_000;
/** What peers connect to; ranks listen on 127.0.0.1, on the same port. */
const proxied = '127.0.0.2';

describe('a network between three ranks', () => {
  let ranks: RankProcess[] = [];
  let proxies: FaultProxy[] = [];
  afterEach(async () => {
    await Promise.all(ranks.map((rank) => rank.destroy()));
    await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
    [ranks, proxies] = [[], []];
  });

  async function start(closeAfter?: number): Promise<void> {
    const ports = [await freePort(), await freePort(), await freePort()];
    for (const port of ports) proxies.push(await FaultProxy.open({ host: proxied, port }, { host: '127.0.0.1', port }));
    const [coordinator = 0] = ports;
    for (const [rank, port] of ports.entries()) {
      const options = {
        ...rankOptions(rank, 3, coordinator),
        ...(rank === 0 ? {} : { coordinator: { host: proxied, port: coordinator } }),
        listen: { host: '127.0.0.1', port, advertise: proxied },
        timeouts,
      };
      ranks.push(new RankProcess({ sizeBytes: 50_000, options, ...(closeAfter === undefined ? {} : { closeAfter }) }));
    }
    if (closeAfter === undefined) await Promise.all(ranks.map((rank) => rank.reported('exchanged', 0)));
  }

  for (let attempt = 0; attempt < 3; attempt++) {
    const waitMs = Math.random() * 1_500;
    it(`that is cut after ${waitMs.toFixed(0)} ms ends every rank in time, and each names one it lost`, async () => {
      await start();
      await delay(waitMs);
      const since = performance.now();
      for (const proxy of proxies) proxy.hold();
      for (const [rank, { exitCode, error, at }] of (await Promise.all(ranks.map((rank) => rank.ended))).entries()) {
        assert.equal(exitCode, 75, JSON.stringify(error));
        assert.equal(error?.code, 'PEER_LOST');
        assert.notEqual(error.fields['rank'], rank);
        assert.ok(at - since < timeouts.heartbeatTimeoutMs + slackMs, `took ${(at - since).toFixed(0)} ms`);
      }
    });
  }

  it('that is slow by up to 30 ms, at random, changes nothing but the time', async () => {
    await start(60);
    for (const proxy of proxies) proxy.slow(() => Math.random() * 30);
    for (const { exitCode, error } of await Promise.all(ranks.map((rank) => rank.ended))) assert.deepEqual([exitCode, error], [0, null]);
  });
});
