/** Somebody edits what is the operator's, or takes the CRD away: the job goes on, or the next one does, and nothing waits for ever. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { BatchV1Api, CoreV1Api, StorageV1Api } from '@kubernetes/client-node';
import { conditionOf, isTrue, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { counted } from '../support/faulted-jobs.js';
import { addVolume, createJob, OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { standInRanks } from '../support/sdxl-images.js';
import { childrenOfOnePod, SdxlJobs, type Fields } from '../support/sdxl-jobs.js';
import { jobWith } from '../unit/crds/invalid-jobs.js';

const { skip, cluster } = clusterSuite({ nodes: [{ images: { 'ghcr.io/sdxl-operator/runtime-cpu': standInRanks } }] });
const crd = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sdxljobs.sdxl.io';
const gangs = '/apis/batch/v1/namespaces/default/jobs';

function running(runSeconds: number, more: Fields = {}): Fields {
  return { pods: { env: [{ name: 'RUN_SECONDS', value: String(runSeconds) }] }, failurePolicy: { backoffSeconds: 0 }, ...more };
}

function isReady(status: JobStatus): boolean {
  return isTrue(status, 'GangReady');
}

suite('what is the operator’s, in other hands', { skip }, () => {
  let client: ApiClient;
  let operator: OperatorProcess;
  let jobs: SdxlJobs;

  before(async () => {
    client = await openClient(cluster());
    operator = await OperatorProcess.start(cluster());
    jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
  });
  after(async () => {
    await operator[Symbol.asyncDispose]();
  });

  async function patch(path: string, body: object): Promise<void> {
    await client.call({ verb: 'PATCH', path, contentType: 'application/merge-patch+json', body, signal: AbortSignal.timeout(30_000) });
  }

  test('an operator that is there before the CRD says what is missing, and goes on once it is there', async () => {
    await waitFor('a word', () => (operator.log.includes('the API server serves no SdxlJobs: install their CRD') ? true : undefined), {
      context: () => operator.log,
    });
    await installCrd(client);
    await jobs.create('first', running(0));
    await jobs.completed('first');
  });

  test('a Job whose labels are taken away or changed is followed to its end', async () => {
    const labels = { helmed: { 'app.kubernetes.io/managed-by': 'Helm' }, stripped: { 'sdxl.io/job-uid': null, 'sdxl.io/job-name': null } };
    await Promise.all(
      Object.entries(labels).map(async ([name, changed]) => {
        await jobs.create(name, running(8));
        await jobs.until(name, 'readiness', isReady);
        await patch(`${gangs}/${name}-1`, { metadata: { labels: changed } });
        assert.deepEqual(counted(await jobs.completed(name)), { attempt: 1, restarts: 0, disruptions: 0 });
      }),
    );
  });

  test('a Job that is suspended by hand while its pods wait for a node is made anew', async () => {
    await jobs.create('paused', running(0, { pods: { nodeSelector: { none: 'such' } } }));
    await jobs.until('paused', 'wait', (status) => conditionOf(status, 'GangReady')?.reason === 'Unschedulable');
    await patch(`${gangs}/paused-1`, { spec: { suspend: true } });
    const status = await jobs.until(
      'paused',
      'next attempt',
      (seen) => seen.attempt === 2 && conditionOf(seen, 'GangReady')?.reason === 'Unschedulable',
    );
    assert.deepEqual([status.disruptions, isTrue(status, 'FailureTarget')], [1, false]);
    await jobs.delete('paused');
    await jobs.gone('paused');
  });

  test('an output claim that somebody has made larger stays so, and the job goes on with it', async () => {
    const growing = { metadata: { name: 'growing' }, provisioner: 'example.com/none', allowVolumeExpansion: true };
    await cluster().api(StorageV1Api).createStorageClass({ body: growing });
    await addVolume(cluster(), client, 'grown', { namespace: 'default', name: 'grown-output' });
    await patch('/api/v1/persistentvolumes/grown', { spec: { storageClassName: 'growing' } });
    await createJob(client, 'default', jobWith(running(600, { output: { storageClassName: 'growing' } }), { name: 'grown' }));
    await jobs.until('grown', 'readiness', isReady);
    const claim = '/api/v1/namespaces/default/persistentvolumeclaims/grown-output';
    await patch(claim, { spec: { resources: { requests: { storage: '2Gi' } } } });
    // As the volume's driver would write it.
    await patch(`${claim}/status`, { status: { capacity: { storage: '2Gi' } } });
    await jobs.patch('grown', { suspend: true });
    await jobs.until('grown', 'suspension', (status) => isTrue(status, 'Suspended'));
    await jobs.patch('grown', { suspend: false });
    await jobs.until('grown', 'readiness', (status) => isReady(status) && status.attempt === 2);
    const { spec } = await cluster().api(CoreV1Api).readNamespacedPersistentVolumeClaim({ namespace: 'default', name: 'grown-output' });
    assert.equal(spec?.resources?.requests?.['storage'], '2Gi');
    await jobs.delete('grown');
    await jobs.gone('grown');
  });

  test('pods and Jobs of another namespace that carry a gang’s labels are none of it', async () => {
    await using elsewhere = await cluster().namespace();
    await jobs.create('imitated', running(600));
    await jobs.until('imitated', 'readiness', isReady);
    const [pod] = await jobs.pods('imitated', 1);
    const labels = pod?.metadata?.labels ?? {};
    const metadata = { name: 'imitated-1', labels };
    const containers = [{ name: 'ranks', image: 'example.com/none' }];
    await cluster()
      .api(CoreV1Api)
      .createNamespacedPod({ namespace: elsewhere.name, body: { metadata, spec: { containers, nodeSelector: { none: 'such' } } } });
    const own = Object.fromEntries(Object.entries(labels).filter(([label]) => label.startsWith('sdxl.io/')));
    await cluster()
      .api(BatchV1Api)
      .createNamespacedJob({
        namespace: elsewhere.name,
        body: {
          metadata: { ...metadata, labels: own },
          spec: { suspend: true, template: { spec: { containers, restartPolicy: 'Never' } } },
        },
      });
    // Both are heard of before this one.
    await jobs.create('later', running(0));
    await jobs.completed('later');
    await jobs.finish('imitated', 1);
    assert.deepEqual(counted(await jobs.completed('imitated')), { attempt: 1, restarts: 0, disruptions: 0 });
  });

  test('a CRD that is deleted takes jobs and gangs along; jobs of one that is made again are made', async () => {
    await jobs.create('along', running(600));
    await jobs.until('along', 'readiness', isReady);
    await client.call({ verb: 'DELETE', path: crd, signal: AbortSignal.timeout(30_000) });
    await waitFor('end of its gang', async () => ((await jobs.children('along')).length === 0 ? true : undefined), {
      timeoutMs: 120_000,
      context: () => operator.log,
    });
    await installCrd(client);
    await jobs.create('again', running(0));
    await jobs.completed('again');
    assert.deepEqual(await jobs.children('again'), childrenOfOnePod);
  });
});
