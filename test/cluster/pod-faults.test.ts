/**
 * Faults of a running gang, with the runtime and its small model: ranks that die or hang, pods that are evicted, nodes that are lost. Each time the
 * gang is started again as a whole, the culprit is named, what is written stays, and the job ends as it would have.
 */
import assert from 'node:assert/strict';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { CoreV1Api, type V1Pod } from '@kubernetes/client-node';
import { decode } from 'fast-png';
import { conditionOf, isTrue, type JobStatus } from '../../operator/api/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { hasEnded, isReady } from '../support/cluster/pods.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs, type Fields } from '../support/sdxl-jobs.js';

/** Two nodes for most tests, two for the test that takes one of them away, one that is too small for two pods. */
const pools = ['steady', 'steady', 'shaky', 'shaky', 'small'];
const { skip, cluster } = clusterSuite({ nodes: pools.map((pool) => ({ images: sdxlImages, labels: { pool } })) });
/** Of a pod that leaves no room for another on its node. */
const large = { requests: { cpu: '40' } };

const images = 3;
/** Long enough that a fault after the first image comes well before the last. */
const spec = {
  height: 256,
  width: 256,
  numInferenceSteps: 12,
  numImages: images,
  seed: 2,
  output: { path: 'output.png' },
  failurePolicy: { backoffSeconds: 0 },
};
const onePod = { parallelism: { patchDegree: 2 }, pods: { nodeSelector: { pool: 'steady' } } };
const twoPods = { parallelism: { patchDegree: 2, ranksPerPod: 1 }, pods: { nodeSelector: { pool: 'steady' } } };

let operator: OperatorProcess;
let jobs: SdxlJobs;

async function start(name: string, more: Fields): Promise<string> {
  return await jobs.create(name, { ...spec, ...more });
}

/** Resolves with the first image's identity as soon as it is there: by then the gang denoises the second. */
async function firstImage(folder: string): Promise<bigint> {
  return await waitFor('first image', async () => (await stat(join(folder, 'output-0.png'), { bigint: true })).ino, {
    timeoutMs: 240_000,
    intervalMs: 20,
    context: () => operator.log,
  });
}

/** Waits for the job's end: every image is there and whole, and those of `kept` are the files they were. */
async function completes(name: string, folder: string, kept?: bigint): Promise<JobStatus> {
  const status = await jobs.completed(name);
  const expected = Array.from({ length: images }, (_, index) => [`output-${String(index)}.json`, `output-${String(index)}.png`]).flat();
  assert.deepEqual((await readdir(folder)).sort(), expected);
  for (const file of expected.filter((each) => each.endsWith('.png'))) {
    const { width, height } = decode(await readFile(join(folder, file)), { checkCrc: true });
    assert.deepEqual([width, height], [256, 256]);
  }
  if (kept !== undefined) assert.equal((await stat(join(folder, 'output-0.png'), { bigint: true })).ino, kept, 'written twice');
  return status;
}

function counted({ attempt, restarts, disruptions }: JobStatus): object {
  return { attempt, restarts, disruptions };
}

async function kill(name: string, attempt: number, index: number, rank: number, signal: NodeJS.Signals): Promise<V1Pod> {
  const ranksPerPod = name.startsWith('pods-') ? 1 : 2;
  const pod = await jobs.pod(name, attempt, index, 'start', ({ status }) => status?.phase === 'Running');
  const { ranks } = await jobs.processes(pod, ranksPerPod);
  process.kill(ranks[rank] ?? 0, signal);
  return pod;
}

suite('a gang', { skip, concurrency: 4 }, () => {
  before(async () => {
    const client = await openClient(cluster());
    await installCrd(client);
    operator = await OperatorProcess.start(cluster());
    jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
  });
  after(async () => {
    await operator[Symbol.asyncDispose]();
  });

  test('the node of a rank is lost', async () => {
    const pods = { nodeSelector: { pool: 'shaky' }, resources: large };
    const folder = await start('lost', { parallelism: { patchDegree: 2, ranksPerPod: 1 }, pods });
    const kept = await firstImage(folder);
    const pod = await jobs.pod('lost', 1, 1, 'start', isReady);
    const lost = jobs.nodeOf(pod);
    await lost.agent.kill();
    await cluster().addNode({ images: sdxlImages, labels: { pool: 'shaky' } });
    const { lastFailure, ...status } = await completes('lost', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.code, lastFailure?.pod], ['DeletionByTaintManager', pod.metadata?.name]);
    for (const again of await jobs.pods('lost', 2)) {
      assert.notEqual(again.spec?.nodeName, lost.name);
      assert.ok(hasEnded(again));
    }
  });

  test('a launcher hangs, and its ranks with it', async () => {
    const folder = await start('stuck', { ...onePod, rendezvousTimeoutSeconds: 20, progressDeadlineSeconds: 20 });
    const kept = await firstImage(folder);
    const pod = await jobs.pod('stuck', 1, 0, 'start', () => true);
    const { launcher, ranks } = await jobs.processes(pod, 2);
    for (const pid of [launcher, ...ranks]) process.kill(pid, 'SIGSTOP');
    const { lastFailure, ...status } = await completes('stuck', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.equal(lastFailure?.code, 'GangHung');
    assert.match(lastFailure.message ?? '', /^rank 0 has told of no progress for \d+ s, at most 80 s are allowed$/u);
  });

  for (const rank of [0, 1]) {
    test(`rank ${String(rank)} of one pod is killed while it denoises`, async () => {
      const name = `rank-${String(rank)}`;
      const folder = await start(name, onePod);
      const kept = await firstImage(folder);
      const pod = await kill(name, 1, 0, rank, 'SIGKILL');
      const { lastFailure, ...status } = await completes(name, folder, kept);
      assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
      assert.deepEqual(
        [lastFailure?.attempt, lastFailure?.code, lastFailure?.rank, lastFailure?.exitCode, lastFailure?.pod],
        [1, 'RANK_EXITED', rank, 75, pod.metadata?.name],
      );
      assert.match(lastFailure?.message ?? '', new RegExp(`^rank ${String(rank)}: the process was ended by SIGKILL`, 'u'));
    });

    test(`the rank of pod ${String(rank)} of two is killed while it denoises`, async () => {
      const name = `pods-${String(rank)}`;
      const folder = await start(name, twoPods);
      const kept = await firstImage(folder);
      const pod = await kill(name, 1, rank, 0, 'SIGKILL');
      const { lastFailure, ...status } = await completes(name, folder, kept);
      assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
      assert.deepEqual(
        [lastFailure?.attempt, lastFailure?.code, lastFailure?.rank, lastFailure?.pod],
        [1, 'RANK_EXITED', rank, pod.metadata?.name],
      );
    });
  }

  test('a rank is killed before the gang is ready', async () => {
    const folder = await start('unready', onePod);
    await kill('unready', 1, 0, 1, 'SIGKILL');
    const { lastFailure, ...status } = await completes('unready', folder);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([lastFailure?.attempt, lastFailure?.code, lastFailure?.rank], [1, 'RANK_EXITED', 1]);
  });

  test('a launcher is killed, with which its ranks end', async () => {
    const folder = await start('launcher', onePod);
    const kept = await firstImage(folder);
    const pod = await jobs.pod('launcher', 1, 0, 'start', () => true);
    const { launcher, ranks } = await jobs.processes(pod, 2);
    process.kill(launcher, 'SIGKILL');
    const { lastFailure, ...status } = await completes('launcher', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([lastFailure?.exitCode, lastFailure?.pod], [137, pod.metadata?.name]);
    for (const pid of [launcher, ...ranks]) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });

  test('a rank hangs', async () => {
    const folder = await start('hung', onePod);
    const kept = await firstImage(folder);
    await kill('hung', 1, 0, 1, 'SIGSTOP');
    const { lastFailure, ...status } = await completes('hung', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([lastFailure?.attempt, lastFailure?.code, lastFailure?.rank], [1, 'RANK_HUNG', 1]);
    assert.match(lastFailure?.message ?? '', /^rank 1: it has been silent for \d+\.\d s/u);
  });

  test('ranks that are killed again and again: the job fails, and says which', async () => {
    const folder = await start('exhausted', { ...onePod, failurePolicy: { maxRestarts: 1, backoffSeconds: 1 } });
    for (const attempt of [1, 2]) await kill('exhausted', attempt, 0, 1, 'SIGKILL');
    const status = await jobs.ended('exhausted');
    assert.equal(status.phase, 'Failed');
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([status.lastFailure?.attempt, status.lastFailure?.code, status.lastFailure?.rank], [2, 'RANK_EXITED', 1]);
    const failed = conditionOf(status, 'Failed');
    assert.equal(failed?.reason, 'RestartsExhausted');
    assert.match(failed.message, /^failurePolicy\.maxRestarts is 1; attempt 2 ended: RANK_EXITED \(exhausted-2-0-\w+, rank 1\)/u);
    assert.equal((await jobs.events('exhausted')).at(-1), 'Failed');
    // Nothing is tried after the end, and nothing half done is left.
    assert.deepEqual([...(await jobs.gangs('exhausted')).keys()], ['exhausted-2']);
    assert.deepEqual(
      (await readdir(folder)).filter((file) => !/^output-\d\.(png|json)$/u.test(file)),
      [],
    );
  });

  test('a pod is evicted through the API', async () => {
    const folder = await start('evicted', twoPods);
    const kept = await firstImage(folder);
    const pod = await jobs.pod('evicted', 1, 1, 'start', () => true);
    const { namespace = '', name = '' } = pod.metadata ?? {};
    await cluster()
      .api(CoreV1Api)
      .createNamespacedPodEviction({ namespace, name, body: { metadata: { name } } });
    const { lastFailure, ...status } = await completes('evicted', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.code, lastFailure?.pod], ['EvictionByEvictionAPI', name]);
  });

  test('a pod is evicted by its node', async () => {
    const folder = await start('pressed', onePod);
    const kept = await firstImage(folder);
    const pod = await jobs.pod('pressed', 1, 0, 'start', () => true);
    const { namespace = '', name = '' } = pod.metadata ?? {};
    await jobs.nodeOf(pod).evict({ namespace, name });
    const { lastFailure, ...status } = await completes('pressed', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([lastFailure?.code, lastFailure?.pod], ['TerminationByKubelet', name]);
  });

  test('a gang of which one pod has no room starts nothing, and is told from one that fails', async () => {
    const folder = await start('cramped', {
      parallelism: { patchDegree: 2, ranksPerPod: 1 },
      pods: { nodeSelector: { pool: 'small' }, resources: large },
      // Of a rank that loads on a busy machine, too.
      rendezvousTimeoutSeconds: 15,
      failurePolicy: { maxRestarts: 0, maxDisruptions: 1 },
    });
    const status = await jobs.ended('cramped');
    assert.deepEqual(counted(status), { attempt: 2, restarts: 0, disruptions: 1 });
    assert.deepEqual([conditionOf(status, 'Failed')?.reason, status.lastFailure?.code], ['DisruptionsExhausted', 'RENDEZVOUS_TIMEOUT']);
    assert.match(status.lastFailure?.message ?? '', /\b1\b/u);
    assert.ok((await jobs.events('cramped')).includes('Unschedulable'));
    assert.deepEqual(await readdir(folder), []);
  });

  test('a job is suspended while it denoises, and goes on from the images it has', async () => {
    const folder = await start('suspended', onePod);
    const kept = await firstImage(folder);
    await jobs.patch('suspended', { suspend: true });
    await jobs.until('suspended', 'suspension', (status) => isTrue(status, 'Suspended'));
    const written = (await readdir(folder)).sort();
    assert.deepEqual(
      written.filter((file) => !/^output-\d\.(png|json)$/u.test(file)),
      [],
    );
    await jobs.patch('suspended', { suspend: false });
    assert.deepEqual(counted(await completes('suspended', folder, kept)), { attempt: 2, restarts: 0, disruptions: 0 });
  });
});
