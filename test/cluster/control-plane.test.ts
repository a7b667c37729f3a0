/** The parts of the test cluster work together as a cluster's do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchV1Api, CoreV1Api, VersionApi } from '@kubernetes/client-node';
import { clusterSuite, waitFor } from '../support/cluster/index.js';

const { skip, cluster } = clusterSuite({ nodes: 0 });

test('the API server tells its version', { skip }, async () => {
  const { gitVersion } = await cluster().api(VersionApi).getCode();
  assert.match(gitVersion, /^v1\.\d+\.\d+$/u);
});

test('the Job controller makes pods, the scheduler says why they wait, the garbage collector takes them away', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const core = cluster().api(CoreV1Api);
  const batch = cluster().api(BatchV1Api);
  const container = { name: 'main', image: 'shell', command: ['true'] };
  const template = { spec: { restartPolicy: 'Never', containers: [container] } };
  await batch.createNamespacedJob({
    namespace: namespace.name,
    body: { metadata: { name: 'two' }, spec: { completions: 2, parallelism: 2, completionMode: 'Indexed', template } },
  });
  await waitFor('two unschedulable pods', async () => {
    const { items } = await core.listNamespacedPod({ namespace: namespace.name });
    assert.deepEqual(items.map(({ metadata }) => metadata?.annotations?.['batch.kubernetes.io/job-completion-index']).sort(), ['0', '1']);
    for (const { status } of items) {
      assert.equal(status?.conditions?.find(({ type }) => type === 'PodScheduled')?.reason, 'Unschedulable');
    }
    return true;
  });
  await batch.deleteNamespacedJob({ name: 'two', namespace: namespace.name, propagationPolicy: 'Background' });
  await waitFor('end of the pods', async () => {
    assert.deepEqual((await core.listNamespacedPod({ namespace: namespace.name })).items, []);
    return true;
  });
});
