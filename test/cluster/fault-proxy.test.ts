/** The fault proxy lets through what it must and breaks what it is told to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiException, CoreV1Api, Watch } from '@kubernetes/client-node';
import { clusterSuite, FaultProxy, waitFor } from '../support/cluster/index.js';

const { skip, cluster } = clusterSuite({ parts: 'api-server' });
const namespace = 'default';

function client(proxy: FaultProxy): CoreV1Api {
  return cluster().kubeConfig({ server: proxy.url }).makeApiClient(CoreV1Api);
}

test('calls pass and are counted by verb and resource', { skip }, async () => {
  await using proxy = await FaultProxy.start(cluster());
  const core = client(proxy);
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'counted' }, data: { key: 'ü'.repeat(100_000) } } });
  const { data } = await core.readNamespacedConfigMap({ namespace, name: 'counted' });
  assert.equal(data?.['key']?.length, 100_000);
  await core.listNamespacedConfigMap({ namespace });
  await core.deleteNamespacedConfigMap({ namespace, name: 'counted' });
  assert.deepEqual(
    proxy.calls.map(({ verb, group, resource, name, status }) => [verb, group, resource, name, status]),
    [
      ['create', '', 'configmaps', '', 201],
      ['get', '', 'configmaps', 'counted', 200],
      ['list', '', 'configmaps', '', 200],
      ['delete', '', 'configmaps', 'counted', 200],
    ],
  );
  assert.deepEqual([proxy.count({ isMutating: true }), proxy.count({ resource: 'secrets' })], [2, 0]);
});

test('answers that the API server did not give', { skip }, async () => {
  await using proxy = await FaultProxy.start(cluster());
  const core = client(proxy);
  for (const status of [409, 410, 429, 500]) {
    proxy.inject({ verb: 'create', resource: 'configmaps' }, { type: 'answer', status, retryAfterSeconds: 1 });
    await assert.rejects(core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'refused' } } }), (error) => {
      assert(error instanceof ApiException);
      assert.deepEqual([error.code, error.headers['retry-after']], [status, '1']);
      return true;
    });
  }
  await assert.rejects(core.readNamespacedConfigMap({ namespace, name: 'refused' }), { code: 404 });
  assert.equal(proxy.calls.filter(({ isInjected }) => isInjected).length, 4);
});

test('connections that break before and after the API server has acted', { skip }, async () => {
  await using proxy = await FaultProxy.start(cluster());
  const core = client(proxy);
  for (const when of ['before', 'after'] as const) {
    const name = `dropped-${when}`;
    proxy.inject({ verb: 'create' }, { type: 'drop', when });
    await assert.rejects(core.createNamespacedConfigMap({ namespace, body: { metadata: { name } } }));
    const reading = core.readNamespacedConfigMap({ namespace, name });
    if (when === 'before') await assert.rejects(reading, { code: 404 });
    else assert.equal((await reading).metadata?.name, name);
  }
});

test('a step at a position among the calls that write, while the client still waits', { skip }, async () => {
  await using proxy = await FaultProxy.start(cluster());
  const core = client(proxy);
  const seen: string[] = [];
  proxy.at(2, { isMutating: true }, 'answered', async ({ path }) => {
    const { items } = await cluster().api(CoreV1Api).listNamespacedConfigMap({ namespace, labelSelector: 'of=steps' });
    seen.push(path, ...items.map(({ metadata }) => metadata?.name ?? ''));
  });
  for (const name of ['step-1', 'step-2', 'step-3']) {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels: { of: 'steps' } } } });
    await core.listNamespacedConfigMap({ namespace });
  }
  assert.deepEqual(seen, ['/api/v1/namespaces/default/configmaps', 'step-1', 'step-2']);
});

test('watches are cut, expired, paused and resumed', { skip }, async () => {
  await using proxy = await FaultProxy.start(cluster());
  const watch = new Watch(cluster().kubeConfig({ server: proxy.url }));
  const events: string[] = [];
  const ends: unknown[] = [];
  const start = async (): Promise<void> => {
    const open = proxy.watches().length;
    await watch.watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      { labelSelector: 'of=watches' },
      (phase, object: { metadata?: { name?: string }; code?: number }) =>
        events.push(`${phase} ${object.metadata?.name ?? String(object.code)}`),
      (error) => ends.push(error),
    );
    await waitFor('open watch', () => (proxy.watches().length > open ? true : undefined));
  };
  const create = async (name: string): Promise<void> => {
    const labels = { of: 'watches' };
    await cluster()
      .api(CoreV1Api)
      .createNamespacedConfigMap({ namespace, body: { metadata: { name, labels } } });
  };
  const seen = async (event: string): Promise<void> => {
    await waitFor(event, () => (events.includes(event) ? true : undefined), { context: () => events.join('\n') });
  };

  await start();
  await create('watched');
  await seen('ADDED watched');
  assert.equal(proxy.pauseWatches({ resource: 'configmaps' }), 1);
  await create('held');
  await delay(200);
  assert.deepEqual(events, ['ADDED watched']);
  proxy.resumeWatches();
  await seen('ADDED held');
  assert.equal(proxy.expireWatches(), 1);
  await seen('ERROR 410');
  await waitFor('end of the watch', () => (ends.length === 1 ? true : undefined));

  await start();
  assert.equal(proxy.cutWatches(), 1);
  await waitFor('end of the watch', () => (ends.length === 2 ? true : undefined));
  assert(ends[1] instanceof Error, String(ends[1]));
  await waitFor('no watch', () => (proxy.watches().length === 0 ? true : undefined));
});
