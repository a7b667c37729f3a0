/** Leadership where somebody meddles with the Lease: deletes it, gives it to another, fills it with nonsense. There are never two leaders. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { LeaderElection, type ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { openClient } from '../support/sdxl-crd.js';

const { skip, cluster } = clusterSuite({ parts: 'api-server' });
const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
const timing = { leaseMs: 4_000, renewMs: 2_500, retryMs: 200 };

/** Processes that elect; how many of them lead is told at every change. */
class Candidates implements AsyncDisposable {
  readonly leading = new Set<string>();
  /** The most that led at once. */
  most = 0;
  readonly #ends: (() => Promise<void>)[] = [];

  start(client: ApiClient, name: string, identity: string): void {
    const stop = new AbortController();
    const election = new LeaderElection({ client, namespace: 'default', name, identity, timing, log: () => undefined });
    const running = election.run(async (signal) => {
      this.leading.add(identity);
      this.most = Math.max(this.most, this.leading.size);
      while (election.mayWriteForMs() > 0 && !signal.aborted) await delay(10);
      this.leading.delete(identity);
      while (!signal.aborted) await delay(10);
    }, stop.signal);
    this.#ends.push(async () => {
      stop.abort();
      await running;
    });
  }

  async leader(timeoutMs: number): Promise<string> {
    return await waitFor('a leader', () => [...this.leading][0], { timeoutMs, intervalMs: 10 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#ends.map(async (end) => end()));
  }
}

suite('a Lease that somebody meddles with', { skip, concurrency: 4 }, () => {
  let client: ApiClient;

  before(async () => {
    client = await openClient(cluster());
  });
  after(() => {
    client[Symbol.dispose]();
  });

  async function call(verb: 'POST' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<void> {
    await client.call({
      verb,
      path,
      body,
      contentType: verb === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      signal: AbortSignal.timeout(30_000),
    });
  }

  test('deleted again and again, it stays with its holder, and nobody else leads', async () => {
    await using candidates = new Candidates();
    candidates.start(client, 'deleted', 'first');
    assert.equal(await candidates.leader(10_000), 'first');
    for (const identity of ['second', 'third', 'fourth']) candidates.start(client, 'deleted', identity);
    for (let time = 0; time < 12; time++) {
      await delay(500);
      await call('DELETE', `${leases}/deleted`).catch(() => undefined);
    }
    await delay(1_000);
    assert.deepEqual([[...candidates.leading], candidates.most], [['first'], 1]);
  });

  test('given to somebody who never renews it, it is left at once and taken again when it has run out', async () => {
    await using candidates = new Candidates();
    candidates.start(client, 'given', 'first');
    await candidates.leader(10_000);
    await call('PATCH', `${leases}/given`, { spec: { holderIdentity: 'nobody' } });
    await waitFor('end of the term', () => (candidates.leading.size === 0 ? true : undefined), { timeoutMs: 1_500, intervalMs: 10 });
    assert.equal(await candidates.leader(20_000), 'first');
  });

  for (const [what, spec, atLeastMs] of [
    ['that lasts for years', { holderIdentity: 'nobody', leaseDurationSeconds: 2_000_000_000 }, timing.leaseMs],
    ['without a duration', { holderIdentity: 'nobody' }, timing.leaseMs],
    ['that has changed hands as often as it can', { holderIdentity: '', leaseTransitions: 2_147_483_647 }, 0],
    ['that says nothing', {}, 0],
  ] as const) {
    test(`one ${what}`, async () => {
      const name = what.replaceAll(' ', '-');
      await call('POST', leases, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace: 'default' }, spec });
      const started = performance.now();
      await using candidates = new Candidates();
      for (const identity of ['first', 'second']) candidates.start(client, name, identity);
      await candidates.leader(60_000);
      assert.ok(performance.now() - started >= atLeastMs, 'its holder may have led still');
      await delay(500);
      assert.equal(candidates.most, 1);
    });
  }
});
