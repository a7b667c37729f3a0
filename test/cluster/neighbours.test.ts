/**
 * Jobs among others who use the cluster: objects of the same names, names at their limits, children deleted by hand, quotas and limits, namespaces that
 * end, finalizers of others. What is somebody else's stays as it is, what is wrong is told, and jobs go on once it is put right.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BatchV1Api, CoreV1Api, NetworkingV1Api } from '@kubernetes/client-node';
import { conditionOf, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { counted } from '../support/faulted-jobs.js';
import { addVolume, createJob, OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { standInRanks } from '../support/sdxl-images.js';
import { jobWith } from '../unit/crds/invalid-jobs.js';
import { childrenOfOnePod, SdxlJobs, type Fields } from '../support/sdxl-jobs.js';

const { skip, cluster } = clusterSuite({ nodes: [{ images: { 'ghcr.io/sdxl-operator/runtime-cpu': standInRanks } }] });

/** A spec whose ranks run so long. */
function running(runSeconds: number, more: Fields = {}): Fields {
  const env = [{ name: 'RUN_SECONDS', value: String(runSeconds) }];
  return { pods: { env }, failurePolicy: { backoffSeconds: 0 }, ...more };
}

function waitsFor(reason: string): (status: JobStatus) => boolean {
  return (status) => conditionOf(status, 'GangReady')?.reason === reason;
}

function isRunning({ phase }: JobStatus): boolean {
  return phase === 'Running';
}

const once = { attempt: 1, restarts: 0, disruptions: 0 };

suite('among others', { skip, concurrency: 6 }, () => {
  let client: ApiClient;
  let operator: OperatorProcess;
  let jobs: SdxlJobs;

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
    operator = await OperatorProcess.start(cluster());
    jobs = within('default');
  });
  after(async () => {
    await operator[Symbol.asyncDispose]();
  });

  function within(namespace: string): SdxlJobs {
    return new SdxlJobs(cluster(), client, { namespace, context: () => operator.log });
  }

  test('jobs of the same name in two namespaces', async () => {
    await using one = await cluster().namespace();
    await using other = await cluster().namespace();
    const both = [within(one.name), within(other.name)];
    await Promise.all(both.map((each) => each.create('same', running(1))));
    for (const each of both) {
      assert.deepEqual(counted(await each.completed('same')), once);
      assert.deepEqual(await each.children('same'), childrenOfOnePod);
    }
  });

  test('names as long as they may be', async () => {
    const namespace = `n${'0'.repeat(61)}n`;
    await cluster()
      .api(CoreV1Api)
      .createNamespace({ body: { metadata: { name: namespace } } });
    const name = `j${'0'.repeat(38)}j`;
    const its = within(namespace);
    await its.create(name, running(0, { parallelism: { patchDegree: 2, ranksPerPod: 1 } }));
    assert.deepEqual(counted(await its.completed(name)), once);
    const pods = await its.pods(name, 1);
    assert.deepEqual(
      pods.map(({ spec }) => [spec?.hostname, spec?.subdomain]),
      [0, 1].map((index) => [`${name}-1-${String(index)}`, `${name}-1`]),
    );
    await cluster().api(CoreV1Api).deleteNamespace({ name: namespace });
  });

  const claimSpec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } };

  test('a ConfigMap, a Service and a claim of the same names are somebody else’s, and stay so', async () => {
    const core = cluster().api(CoreV1Api);
    await core.createNamespacedConfigMap({ namespace: 'default', body: { metadata: { name: 'claimed-1' }, data: { theirs: 'yes' } } });
    const ports = [{ port: 80 }];
    await core.createNamespacedService({ namespace: 'default', body: { metadata: { name: 'claimed-1' }, spec: { ports } } });
    await core.createNamespacedPersistentVolumeClaim({
      namespace: 'default',
      body: { metadata: { name: 'claimed-output', labels: { of: 'somebody' } }, spec: claimSpec },
    });
    await jobs.create('claimed', running(0));
    const refused = (kind: string, name: string): Promise<JobStatus> =>
      jobs.until('claimed', `refusal of ${kind}`, (status) => {
        const { reason, message } = conditionOf(status, 'GangReady') ?? {};
        return reason === 'ChildRefused' && message?.includes(`${kind} ${name} exists and is not this job's`) === true;
      });
    await refused('PersistentVolumeClaim', 'claimed-output');
    const theirs = await core.readNamespacedPersistentVolumeClaim({ namespace: 'default', name: 'claimed-output' });
    assert.deepEqual([theirs.metadata?.ownerReferences, theirs.metadata?.labels], [undefined, { of: 'somebody' }]);
    await core.deleteNamespacedPersistentVolumeClaim({ namespace: 'default', name: 'claimed-output' });
    await refused('ConfigMap', 'claimed-1');
    const { data, metadata } = await core.readNamespacedConfigMap({ namespace: 'default', name: 'claimed-1' });
    assert.deepEqual([data, metadata?.labels, metadata?.ownerReferences], [{ theirs: 'yes' }, undefined, undefined]);
    await core.deleteNamespacedConfigMap({ namespace: 'default', name: 'claimed-1' });
    await refused('Service', 'claimed-1');
    await core.deleteNamespacedService({ namespace: 'default', name: 'claimed-1' });
    // The volume was bound to the claim that is gone.
    await addVolume(cluster(), client, 'claimed-again', { namespace: 'default', name: 'claimed-output' });
    assert.deepEqual(counted(await jobs.completed('claimed')), once);
    assert.deepEqual(await jobs.children('claimed'), childrenOfOnePod);
  });

  test('children deleted by hand while the gang runs: what it has read it needs no more, a pod or a Job is made anew', async () => {
    const namespace = 'default';
    const name = 'plundered-1';
    await jobs.create('plundered', running(600));
    await jobs.until('plundered', 'readiness', isRunning);
    const core = cluster().api(CoreV1Api);
    await core.deleteNamespacedConfigMap({ namespace, name });
    await core.deleteNamespacedSecret({ namespace, name });
    await core.deleteNamespacedService({ namespace, name });
    await cluster().api(NetworkingV1Api).deleteNamespacedNetworkPolicy({ namespace, name });
    await jobs.finish('plundered', 1);
    assert.deepEqual(counted(await jobs.completed('plundered')), once);

    await jobs.create('bereft', running(600));
    for (const [attempt, take] of [
      [1, (pod: string): Promise<unknown> => core.deleteNamespacedPod({ namespace, name: pod })],
      [
        2,
        (): Promise<unknown> =>
          cluster().api(BatchV1Api).deleteNamespacedJob({ namespace, name: 'bereft-2', propagationPolicy: 'Background' }),
      ],
    ] as const) {
      await jobs.until('bereft', 'readiness', (status) => isRunning(status) && status.attempt === attempt);
      const [pod] = await jobs.pods('bereft', attempt);
      await take(pod?.metadata?.name ?? '');
    }
    await jobs.until('bereft', 'readiness', (status) => isRunning(status) && status.attempt === 3);
    await jobs.finish('bereft', 3);
    const { lastFailure, ...status } = await jobs.completed('bereft');
    assert.deepEqual([counted(status), lastFailure?.code], [{ attempt: 3, restarts: 0, disruptions: 2 }, 'JobDeleted']);
  });

  test('a quota that is used up, for pods and for the operator’s own objects', async () => {
    await using namespace = await cluster().namespace();
    const core = cluster().api(CoreV1Api);
    const its = within(namespace.name);
    for (const resource of ['pods', 'count/configmaps']) {
      const name = `quota-${resource.replace('count/', '')}`;
      const body = { metadata: { name }, spec: { hard: { [resource]: resource === 'pods' ? '0' : '1' } } };
      await core.createNamespacedResourceQuota({ namespace: namespace.name, body });
      await waitFor('quota in force', async () => {
        const { status } = await core.readNamespacedResourceQuota({ namespace: namespace.name, name });
        return status?.used?.[resource];
      });
      await its.create(name, running(0));
      const { message = '' } = conditionOf(await its.until(name, 'refusal', waitsFor('QuotaExceeded')), 'GangReady') ?? {};
      assert.match(message, new RegExp(`exceeded quota: ${name}`, 'u'));
      await core.deleteNamespacedResourceQuota({ namespace: namespace.name, name });
      assert.deepEqual(counted(await its.completed(name)), once);
    }
  });

  test('a quota that wants limits of every container, and a model that is fetched', async () => {
    await using namespace = await cluster().namespace();
    const core = cluster().api(CoreV1Api);
    const its = within(namespace.name);
    const spec = { hard: { 'requests.cpu': '100', 'limits.memory': '100Gi' } };
    await core.createNamespacedResourceQuota({ namespace: namespace.name, body: { metadata: { name: 'limited' }, spec } });
    await core.createNamespacedPersistentVolumeClaim({
      namespace: namespace.name,
      body: { metadata: { name: 'models' }, spec: claimSpec },
    });
    await addVolume(cluster(), client, 'models', { namespace: namespace.name, name: 'models' });
    const resources = { requests: { cpu: '1' }, limits: { memory: '1Gi' } };
    await its.create('limited', {
      model: { huggingFace: { repo: 'somebody/sdxl' } },
      cache: { claim: { name: 'models' } },
      pods: { resources },
    });
    assert.deepEqual(counted(await its.completed('limited')), once);
  });

  test('a quota that the job’s own objects have used up does not refuse them once more', async () => {
    await using namespace = await cluster().namespace();
    const core = cluster().api(CoreV1Api);
    const its = within(namespace.name);
    const quota = (jobs: string): object => ({ hard: { 'count/configmaps': '2', 'count/services': '1', 'count/jobs.batch': jobs } });
    const of = { namespace: namespace.name, name: 'exact' };
    await core.createNamespacedResourceQuota({ ...of, body: { metadata: { name: of.name }, spec: quota('0') } });
    await waitFor('quota in force', async () => (await core.readNamespacedResourceQuota(of)).status?.used?.['count/configmaps']);
    await its.create('exact', running(0));
    const refused = await its.until('exact', 'refusal', waitsFor('QuotaExceeded'));
    assert.match(conditionOf(refused, 'GangReady')?.message ?? '', /jobs\.batch/u);
    const body = { metadata: { name: of.name }, spec: quota('1') };
    await core.replaceNamespacedResourceQuota({ ...of, body });
    assert.deepEqual(counted(await its.completed('exact')), once);
  });

  test('children deleted before the pods have mounted them are made again', async () => {
    const name = 'early-1';
    await jobs.create('early', running(0, { pods: { nodeSelector: { early: 'yes' } } }));
    await jobs.until('early', 'wait for a node', waitsFor('Unschedulable'));
    const core = cluster().api(CoreV1Api);
    await core.deleteNamespacedConfigMap({ namespace: 'default', name });
    await core.deleteNamespacedSecret({ namespace: 'default', name });
    await client.call({
      verb: 'PATCH',
      path: `/api/v1/nodes/${cluster().nodes[0]?.name ?? ''}`,
      contentType: 'application/merge-patch+json',
      body: { metadata: { labels: { early: 'yes' } } },
      signal: AbortSignal.timeout(30_000),
    });
    assert.deepEqual(counted(await jobs.completed('early')), once);
    assert.deepEqual(await jobs.children('early'), childrenOfOnePod);
    await jobs.toldOf('early', 'ChildDeleted');
  });

  test('a LimitRange that refuses the pods, and one that fills them in', async () => {
    await using namespace = await cluster().namespace();
    const core = cluster().api(CoreV1Api);
    const its = within(namespace.name);
    const limits = [{ type: 'Container', max: { cpu: '1' }, _default: { cpu: '1' }, defaultRequest: { cpu: '500m' } }];
    await core.createNamespacedLimitRange({ namespace: namespace.name, body: { metadata: { name: 'small' }, spec: { limits } } });
    await its.create('filled-in', running(0));
    assert.deepEqual(counted(await its.completed('filled-in')), once);
    const [pod] = await its.pods('filled-in', 1);
    assert.equal(pod?.spec?.containers[0]?.resources?.limits?.['cpu'], '1');
    await its.create('too-large', running(0, { pods: { resources: { requests: { cpu: '2' }, limits: { cpu: '2' } } } }));
    await its.until('too-large', 'refusal', (status) => {
      const { reason, message } = conditionOf(status, 'GangReady') ?? {};
      return reason === 'PodsNotCreated' && message?.includes('maximum cpu usage') === true;
    });
    await its.toldOf('too-large', 'PodsNotCreated');
    await core.deleteNamespacedLimitRange({ namespace: namespace.name, name: 'small' });
    assert.deepEqual(counted(await its.completed('too-large')), once);
  });

  test('a namespace that ends takes its jobs along, in whatever state, and the operator is soon quiet', async () => {
    const namespace = await cluster().namespace();
    const its = within(namespace.name);
    await its.create('runs', running(600));
    await its.create('waits', running(0, { pods: { nodeSelector: { none: 'such' } } }));
    await its.until('runs', 'readiness', isRunning);
    await its.until('waits', 'wait', waitsFor('Unschedulable'));
    await namespace[Symbol.asyncDispose]();
    const core = cluster().api(CoreV1Api);
    await waitFor(
      'end of the namespace',
      async () => {
        const { items } = await core.listNamespace();
        return items.every(({ metadata }) => metadata?.name !== namespace.name) || undefined;
      },
      { timeoutMs: 180_000, context: () => operator.log },
    );
    const about = (): number => operator.log.split('\n').filter((line) => line.includes(namespace.name)).length;
    // What was under way may still be told of.
    const quiet = async (): Promise<true | undefined> => {
      const told = about();
      await delay(3_000);
      return about() === told || undefined;
    };
    await waitFor('quiet', quiet, { timeoutMs: 30_000, context: () => operator.log });
    // Neither is it a disruption that pods go first, nor is it a warning that nothing can be made any more.
    assert.doesNotMatch(operator.log, new RegExp(`${namespace.name}.*(?:Restarting|being terminated)`, 'u'));
    assert.doesNotMatch(await operator.metrics(), new RegExp(`^sdxl_job_restarts_total\\{namespace="${namespace.name}".* [1-9]`, 'mu'));
    await jobs.create('after-namespace', running(0));
    await jobs.completed('after-namespace');
  });

  test('finalizers of others: a job that is deleted ends its gang all the same, a Job that is held is not waited for', async () => {
    const finalizers = ['example.com/held'];
    const path = '/apis/sdxl.io/v1alpha1/namespaces/default/sdxljobs/kept';
    const patch = (of: string, held: readonly string[]): Promise<unknown> =>
      client.call({
        verb: 'PATCH',
        path: of,
        contentType: 'application/merge-patch+json',
        body: { metadata: { finalizers: held } },
        signal: AbortSignal.timeout(30_000),
      });
    await jobs.create('kept', running(600));
    await jobs.until('kept', 'readiness', isRunning);
    await patch(path, finalizers);
    await jobs.delete('kept');
    await waitFor('end of its pods', async () => ((await jobs.pods('kept', 1)).length === 0 ? true : undefined), {
      context: () => operator.log,
    });
    const { phase, conditions } = await jobs.until('kept', 'deletion', (status) => status.phase !== 'Running');
    const ready = conditions?.find(({ type }) => type === 'GangReady');
    assert.deepEqual([phase, ready?.status, ready?.reason], ['Terminating', 'False', 'Terminating']);
    assert.match(ready?.message ?? '', /held by finalizers: example\.com\/held$/u);
    await patch(path, []);
    await jobs.gone('kept');

    await jobs.create('stuck', running(600));
    await jobs.until('stuck', 'readiness', isRunning);
    const held = '/apis/batch/v1/namespaces/default/jobs/stuck-1';
    await patch(held, finalizers);
    const [pod] = await jobs.pods('stuck', 1);
    await cluster()
      .api(CoreV1Api)
      .deleteNamespacedPod({ namespace: 'default', name: pod?.metadata?.name ?? '' });
    await jobs.until('stuck', 'readiness', (status) => isRunning(status) && status.attempt === 2);
    await jobs.finish('stuck', 2);
    assert.deepEqual(counted(await jobs.completed('stuck')), { attempt: 2, restarts: 0, disruptions: 1 });
    await patch(held, []);
  });

  test('a job that is made again at once waits for what is left of the one before, and nobody is warned', async () => {
    const body = jobWith(running(0), { name: 'replaced' });
    await jobs.create('replaced', running(600));
    await jobs.until('replaced', 'readiness', isRunning);
    const [pod] = await jobs.pods('replaced', 1);
    const { launcher } = await jobs.processes(pod ?? {}, 0);
    // It ends 5 s after it was told to, and the claim is kept for it.
    process.kill(launcher, 'SIGSTOP');
    setTimeout(() => process.kill(launcher, 'SIGCONT'), 5_000);
    await jobs.delete('replaced');
    await createJob(client, 'default', body);
    const waits = await jobs.until('replaced', 'wait', ({ conditions = [] }) =>
      conditions.some(({ message }) => message.includes('earlier job')),
    );
    assert.match(conditionOf(waits, 'GangReady')?.message ?? '', /^\w+ replaced-\w+ of an earlier job of this name is being deleted$/u);
    assert.equal(conditionOf(waits, 'GangReady')?.reason, 'NotStarted');
    await jobs.until('replaced', 'pods', waitsFor('ClaimNotBound'));
    assert.deepEqual(
      (await jobs.events('replaced')).filter((reason) => reason === 'ChildRefused'),
      [],
    );
    await jobs.delete('replaced');
    await jobs.gone('replaced');
  });

  test('a job is edited while it is suspended, and goes on with what it says then', async () => {
    await jobs.create('edited', running(600));
    await jobs.until('edited', 'readiness', isRunning);
    await jobs.patch('edited', { suspend: true });
    await jobs.until('edited', 'suspension', (status) => conditionOf(status, 'Suspended')?.status === 'True');
    await jobs.patch('edited', { scheduling: { priorityClassName: 'system-node-critical' } });
    await assert.rejects(jobs.patch('edited', { prompt: 'something else' }), /spec is immutable/u);
    await jobs.patch('edited', { suspend: false });
    const pod = await jobs.pod('edited', 2, 0, 'start', ({ status }) => status?.phase === 'Running');
    assert.equal(pod.spec?.priorityClassName, 'system-node-critical');
    assert.deepEqual(counted(await jobs.status('edited')), { attempt: 2, restarts: 0, disruptions: 0 });
    await jobs.delete('edited');
    await jobs.gone('edited');
  });

  test('a cache claim that is not there, then waits for a volume, then is bound', async () => {
    await jobs.create('uncached', running(0, { cache: { claim: { name: 'engines' } } }));
    const missing = await jobs.until('uncached', 'wait for the claim', waitsFor('ClaimNotBound'));
    assert.match(conditionOf(missing, 'GangReady')?.message ?? '', /persistentvolumeclaim "engines" not found/u);
    const body = { metadata: { name: 'engines' }, spec: claimSpec };
    await cluster().api(CoreV1Api).createNamespacedPersistentVolumeClaim({ namespace: 'default', body });
    await jobs.until('uncached', 'wait for a volume', (status) => {
      const { reason, message } = conditionOf(status, 'GangReady') ?? {};
      return reason === 'ClaimNotBound' && message?.includes('unbound') === true;
    });
    await addVolume(cluster(), client, 'engines', { namespace: 'default', name: 'engines' });
    assert.deepEqual(counted(await jobs.completed('uncached')), once);
  });
});
