/**
 * A gang from which the cluster takes a pod: evicted, preempted, on a node that is lost or cut off, without room. It is a disruption, not a failure: the
 * gang starts again as a whole where there is room, what is written stays, and nobody writes an image twice.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CoreV1Api, SchedulingV1Api } from '@kubernetes/client-node';
import { conditionOf, isTrue, type JobStatus } from '../../operator/api/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { hasEnded, isReady, podGone, podOnce, runPod, shell } from '../support/cluster/pods.js';
import { counted, FaultedJobs, imageCount, ranksIn, WrittenImages } from '../support/faulted-jobs.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs } from '../support/sdxl-jobs.js';

/** For most tests, for those that take a node away, and a node each that has room for one pod or is fought for. */
const pools = ['steady', 'shaky', 'shaky', 'frozen', 'frozen', 'frozen', 'crawling', 'crawling', 'small', 'contested'];
const { skip, cluster } = clusterSuite({ nodes: pools.map((pool) => ({ images: sdxlImages, labels: { pool } })) });
/** Of a pod that leaves no room for another on its node. */
const large = { requests: { cpu: '40' } };

let operator: OperatorProcess;
let jobs: SdxlJobs;
let faulted: FaultedJobs;

suite('a gang of which the cluster takes a pod', { skip, concurrency: 5 }, () => {
  before(async () => {
    const client = await openClient(cluster());
    await installCrd(client);
    operator = await OperatorProcess.start(cluster());
    jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
    faulted = new FaultedJobs(jobs, () => operator.log);
  });
  after(async () => {
    await operator[Symbol.asyncDispose]();
  });

  test('the node of a rank is cut off and its processes stand still: others make the rest, and it writes nothing when it wakes', async () => {
    const folder = await faulted.start('frozen', ranksIn(2, 'frozen', { resources: large }));
    const kept = await faulted.firstImage(folder);
    const pod = await jobs.pod('frozen', 1, 0, 'start', isReady);
    const node = jobs.nodeOf(pod);
    const { launcher, ranks } = await jobs.processes(pod, 1);
    using written = new WrittenImages(folder);
    const stale = [launcher, ...ranks];
    for (const pid of stale) process.kill(pid, 'SIGSTOP');
    await node.freeze();
    // Its pod is deleted, and nobody confirms it.
    const ending = await jobs.until('frozen', 'end of the attempt', (status) => isTrue(status, 'FailureTarget'));
    assert.deepEqual([conditionOf(ending, 'GangReady')?.reason, ending.attempt], ['Ended', 1]);
    await jobs.pod('frozen', 2, 0, 'readiness', isReady);
    const [first] = await jobs.pods('frozen', 1);
    assert.ok(first?.metadata?.deletionTimestamp !== undefined && !hasEnded(first));
    for (const pid of stale) process.kill(pid, 'SIGCONT');
    const { lastFailure, ...status } = await faulted.completes('frozen', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.attempt, lastFailure?.pod], [1, pod.metadata?.name]);
    assert.ok(['DeletionByTaintManager', 'NodeLost'].includes(lastFailure?.code ?? ''), lastFailure?.code);
    for (const again of await jobs.pods('frozen', 2)) assert.notEqual(again.spec?.nodeName, node.name);
    await node.thaw();
    await podGone(cluster(), { namespace: 'default', name: pod.metadata?.name ?? '' });
    for (const pid of stale) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    assert.ok(
      Object.values(written.counts).every((times) => times === 1),
      JSON.stringify(written.counts),
    );
  });

  test('a node is cut off while its gang goes on, slowly: two gangs at once write no image twice', async () => {
    const folder = await faulted.start('crawling', ranksIn(1, 'crawling', { resources: large }));
    const pod = await jobs.pod('crawling', 1, 0, 'start', ({ status }) => status?.phase === 'Running');
    const { launcher, ranks } = await jobs.processes(pod, 2);
    using written = new WrittenImages(folder);
    const kept = await faulted.firstImage(folder);
    const node = jobs.nodeOf(pod);
    await node.freeze();
    const stale = [launcher, ...ranks];
    const crawling = new AbortController();
    const crawl = (async (): Promise<void> => {
      while (!crawling.signal.aborted) {
        for (const pid of stale.filter(isAlive)) process.kill(pid, 'SIGSTOP');
        await delay(1_500);
        for (const pid of stale.filter(isAlive)) process.kill(pid, 'SIGCONT');
        await delay(10);
      }
    })();
    try {
      // Where the old gang still runs, both make the second image now.
      await jobs.pod('crawling', 2, 0, 'readiness', isReady);
    } finally {
      crawling.abort();
      await crawl;
    }
    const { lastFailure, ...status } = await faulted.completes('crawling', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.equal(lastFailure?.code, 'DeletionByTaintManager');
    await waitFor('end of the old gang', () => (stale.some(isAlive) ? undefined : true));
    await node.thaw();
    await podGone(cluster(), { namespace: 'default', name: pod.metadata?.name ?? '' });
    assert.deepEqual(
      Object.values(written.counts),
      Array.from({ length: imageCount }, () => 1),
    );
  });

  test('the node of a rank is lost', async () => {
    const folder = await faulted.start('lost', ranksIn(2, 'shaky', { resources: large }));
    const kept = await faulted.firstImage(folder);
    const pod = await jobs.pod('lost', 1, 1, 'start', isReady);
    const lost = jobs.nodeOf(pod);
    await lost.agent.kill();
    await cluster().addNode({ images: sdxlImages, labels: { pool: 'shaky' } });
    const { lastFailure, ...status } = await faulted.completes('lost', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.code, lastFailure?.pod], ['DeletionByTaintManager', pod.metadata?.name]);
    for (const again of await jobs.pods('lost', 2)) {
      assert.notEqual(again.spec?.nodeName, lost.name);
      assert.ok(hasEnded(again));
    }
  });

  test('a pod of higher priority takes the place of one: the gang waits for room, and goes on', async () => {
    const scheduling = cluster().api(SchedulingV1Api);
    await scheduling.createPriorityClass({ body: { metadata: { name: 'urgent' }, value: 1000 } });
    const spec = { ...ranksIn(2, 'contested', { resources: { requests: { cpu: '30' } } }), failurePolicy: { maxRestarts: 0 } };
    const folder = await faulted.start('preempted', spec);
    const kept = await faulted.firstImage(folder);
    const urgent = await runPod(cluster(), 'default', 'urgent', {
      priorityClassName: 'urgent',
      nodeSelector: { pool: 'contested' },
      containers: [shell('while :; do sleep 0.1; done', { resources: { requests: { cpu: '30' } } })],
      terminationGracePeriodSeconds: 1,
    });
    await podOnce(cluster(), 'its place', urgent, isReady);
    const waiting = await jobs.until('preempted', 'wait for room', (each) => conditionOf(each, 'GangReady')?.reason === 'Unschedulable');
    assert.deepEqual(counted(waiting), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.equal(waiting.lastFailure?.code, 'PreemptionByScheduler');
    await jobs.toldOf('preempted', 'Restarting');
    await cluster()
      .api(CoreV1Api)
      .deleteNamespacedPod({ ...urgent });
    assert.deepEqual(counted(await faulted.completes('preempted', folder, kept)), { attempt: 2, restarts: 0, disruptions: 1 });
  });

  test('a gang of which one pod has no room starts nothing, and is told from one that fails', async () => {
    const folder = await faulted.start('cramped', {
      ...ranksIn(2, 'small', { resources: large }),
      // Of a rank that loads on a busy machine, too.
      rendezvousTimeoutSeconds: 15,
      // A machine too busy for heartbeats may have other disturbances as well.
      failurePolicy: { maxRestarts: 5, maxDisruptions: 5 },
    });
    const gaveUp = ({ lastFailure }: JobStatus): boolean => lastFailure?.code === 'RENDEZVOUS_TIMEOUT';
    const before = await jobs.until('cramped', 'wait for room', (each) => conditionOf(each, 'GangReady')?.reason === 'Unschedulable');
    const status = await jobs.until('cramped', 'end of its patience', gaveUp);
    assert.ok((status.disruptions ?? 0) > (before.disruptions ?? 0));
    assert.match(status.lastFailure?.message ?? '', /\b1\b/u);
    assert.deepEqual(await readdir(folder), []);
    await jobs.delete('cramped');
    await jobs.gone('cramped');
  });

  test('a pod is evicted through the API', async () => {
    const folder = await faulted.start('evicted', ranksIn(2, 'steady'));
    const kept = await faulted.firstImage(folder);
    const pod = await jobs.pod('evicted', 1, 1, 'start', () => true);
    const { namespace = '', name = '' } = pod.metadata ?? {};
    await cluster()
      .api(CoreV1Api)
      .createNamespacedPodEviction({ namespace, name, body: { metadata: { name } } });
    const { lastFailure, ...status } = await faulted.completes('evicted', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.code, lastFailure?.pod], ['EvictionByEvictionAPI', name]);
  });

  test('a pod is evicted by its node', async () => {
    const folder = await faulted.start('pressed', ranksIn(1, 'steady'));
    const kept = await faulted.firstImage(folder);
    const pod = await jobs.pod('pressed', 1, 0, 'start', () => true);
    const { namespace = '', name = '' } = pod.metadata ?? {};
    await jobs.nodeOf(pod).evict({ namespace, name });
    const { lastFailure, ...status } = await faulted.completes('pressed', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.code, lastFailure?.pod], ['TerminationByKubelet', name]);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // No such process.
  }
}
