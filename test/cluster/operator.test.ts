/** Jobs on a real control plane: made, failed and started again, suspended, deleted. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { isTrue } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { addVolume, createJob, OperatorProcess, rankImages, statusOf } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { jobWith } from '../unit/crds/invalid-jobs.js';

const { skip, cluster } = clusterSuite({ nodes: [{ images: rankImages }] });
const patience = { timeoutMs: 120_000 };
let opened: Promise<ApiClient> | undefined;

function server(): Promise<ApiClient> {
  opened ??= (async () => {
    const client = await openClient(cluster());
    await installCrd(client);
    return client;
  })();
  return opened;
}

const small = { height: 64, width: 64, numInferenceSteps: 2 };

test('a gang of two pods makes the image; its end is told, and deletion leaves nothing', { skip }, async () => {
  const client = await server();
  const volume = await addVolume(cluster(), client, 'two-pods');
  await using operator = await OperatorProcess.start(cluster());
  const spec = { ...small, height: 128, parallelism: { patchDegree: 2, ranksPerPod: 1 } };
  await createJob(client, 'default', jobWith(spec, { name: 'two-pods' }));
  const done = async (): Promise<true | undefined> => {
    const status = await statusOf(client, 'default', 'two-pods');
    assert.notEqual(status.phase, 'Failed', JSON.stringify(status.lastFailure));
    return isTrue(status, 'Complete') ? true : undefined;
  };
  await waitFor('a complete job', done, { ...patience, context: () => operator.log });
  const status = await statusOf(client, 'default', 'two-pods');
  assert.deepEqual([status.attempt, status.restarts, status.disruptions, status.progress?.done], [1, 0, 0, '100%']);
  assert.deepEqual(new Set(await readdir(volume)), new Set(['output.json', 'output.png']));
  const signal = AbortSignal.timeout(60_000);
  await client.call({ verb: 'DELETE', path: '/apis/sdxl.io/v1alpha1/namespaces/default/sdxljobs/two-pods', signal });
  await waitFor('end of all children', async () => {
    for (const path of [
      '/apis/batch/v1/namespaces/default/jobs',
      '/api/v1/namespaces/default/pods',
      '/api/v1/namespaces/default/secrets',
    ]) {
      const { items } = await client.call<{ items: readonly unknown[] }>({ verb: 'GET', path, signal });
      assert.deepEqual(items, [], path);
    }
    return true;
  });
  assert.equal(await operator.end('SIGTERM'), 0, operator.log);
});

test('a killed rank is one restart, also when the operator is killed with it', { skip }, async () => {
  const client = await server();
  await addVolume(cluster(), client, 'killed');
  const first = await OperatorProcess.start(cluster());
  const spec = { ...small, numInferenceSteps: 1000, failurePolicy: { backoffSeconds: 0, maxRestarts: 1 } };
  await createJob(client, 'default', jobWith(spec, { name: 'killed' }));
  const podOf = (attempt: number) => async (): Promise<{ namespace: string; name: string } | undefined> => {
    const status = await statusOf(client, 'default', 'killed');
    const name = status.gang?.pods?.[0]?.name;
    return status.attempt === attempt && isTrue(status, 'GangReady') && name !== undefined ? { namespace: 'default', name } : undefined;
  };
  const pod = await waitFor('a ready gang', podOf(1), { ...patience, context: () => first.log });
  await first.end('SIGKILL');
  const [process_] = await (cluster().nodes[0]?.processes(pod) ?? []);
  assert.ok(process_);
  process.kill(process_.pid, 'SIGKILL');
  await using second = await OperatorProcess.start(cluster());
  await waitFor('a second attempt', podOf(2), { ...patience, context: () => second.log });
  const { restarts, disruptions, lastFailure } = await statusOf(client, 'default', 'killed');
  assert.deepEqual([restarts, disruptions, lastFailure?.attempt, lastFailure?.exitCode], [1, 0, 1, 137]);
  const path = '/apis/sdxl.io/v1alpha1/namespaces/default/sdxljobs/killed';
  const suspend = { spec: { suspend: true } };
  await client.call({
    verb: 'PATCH',
    path,
    body: suspend,
    contentType: 'application/merge-patch+json',
    signal: AbortSignal.timeout(30_000),
  });
  const held = async (): Promise<true | undefined> => (isTrue(await statusOf(client, 'default', 'killed'), 'Suspended') ? true : undefined);
  await waitFor('a suspended job', held, { ...patience, context: () => second.log });
  assert.equal((await statusOf(client, 'default', 'killed')).restarts, 1);
});
