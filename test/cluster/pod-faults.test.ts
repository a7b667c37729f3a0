/**
 * Faults of a running gang, with the runtime and its small model: ranks and launchers that die or hang, a job that is suspended. Each time the gang is
 * started again as a whole, the culprit is named, what is written stays, and the job ends as it would have.
 */
import assert from 'node:assert/strict';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { conditionOf, isTrue, type JobStatus } from '../../operator/api/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { clusterSuite } from '../support/cluster/index.js';
import { counted, FaultedJobs, ranksIn } from '../support/faulted-jobs.js';
import { JobHistory } from '../support/job-history.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs } from '../support/sdxl-jobs.js';
import { sdxl, Workspace } from '../support/sdxl.js';

const { skip, cluster } = clusterSuite({ nodes: [1, 2].map(() => ({ images: sdxlImages, labels: { pool: 'steady' } })) });
const onePod = ranksIn(1, 'steady');
const twoPods = ranksIn(2, 'steady');

let operator: OperatorProcess;
let jobs: SdxlJobs;
let faulted: FaultedJobs;
let history: JobHistory;

suite('a gang', { skip, concurrency: 4 }, () => {
  before(async () => {
    const client = await openClient(cluster());
    await installCrd(client);
    history = await JobHistory.start(client);
    operator = await OperatorProcess.start(cluster());
    jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
    faulted = new FaultedJobs(jobs, () => operator.log);
  });
  after(async () => {
    await operator[Symbol.asyncDispose]();
    await history[Symbol.asyncDispose]();
  });

  test('a launcher hangs, and its ranks with it', async () => {
    const folder = await faulted.start('stuck', { ...onePod, rendezvousTimeoutSeconds: 20, progressDeadlineSeconds: 20 });
    const kept = await faulted.firstImage(folder);
    const pod = await jobs.pod('stuck', 1, 0, 'start', () => true);
    const { launcher, ranks } = await jobs.processes(pod, 2);
    for (const pid of [launcher, ...ranks]) process.kill(pid, 'SIGSTOP');
    const { lastFailure, ...status } = await faulted.completes('stuck', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.equal(lastFailure?.code, 'GangHung');
    assert.match(lastFailure.message ?? '', /^rank 0 has told of no progress for \d+ s, at most 80 s are allowed$/u);
  });

  test('a rank is killed in the middle of a list of prompts: no image is made twice, progress never goes back', async () => {
    const count = 10;
    const prompts = Array.from({ length: count }, (_, index) => ({
      prompt: `flowers ${String(index)}`,
      ...(index % 3 === 1 ? { seed: 40 + index } : {}),
      ...(index % 4 === 2 ? { width: 256 } : {}),
    }));
    const small = { height: 128, width: 128, numInferenceSteps: 24, numImages: 1 };
    const model = 'models/tiny-sdxl';
    const folder = await faulted.start('prompts', { ...onePod, ...small, prompt: undefined, prompts, model: { path: model } });
    await using workspace = await Workspace.open();
    await writeFile(workspace.file('prompts.json'), JSON.stringify(prompts));
    await faulted.firstImage(folder);
    // Seen by the operator, which asks every five seconds.
    await jobs.until('prompts', 'progress', ({ progress }) => (progress?.imagesDone ?? 0) >= 2);
    const pod = await faulted.kill('prompts', 1, 0, 0, 'SIGKILL');
    const kept = await identities(folder);
    assert.ok(kept.size > 1 && kept.size < count, `killed after ${String(kept.size)} images`);
    const { lastFailure, ...status } = await jobs.completed('prompts');
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual(
      [lastFailure?.attempt, lastFailure?.code, lastFailure?.rank, lastFailure?.exitCode, lastFailure?.pod],
      [1, 'RANK_EXITED', 0, 75, pod.metadata?.name],
    );
    assert.match(lastFailure?.message ?? '', /^rank 0: the process was ended by SIGKILL/u);
    const after = await identities(folder);
    assert.equal(after.size, count);
    for (const [file, identity] of kept) assert.equal(after.get(file), identity, `${file} was made twice`);
    // As `sdxl run` makes them, byte for byte.
    const options = ['--size', '128', '--num-inference-steps', '24', '--seed', '2', '-n', '2', '--output', 'output.png'];
    const args = ['run', '--model', packageFile(model), '--prompts', 'prompts.json', ...options];
    // Other clusters' jobs compute beside it.
    const { code, stderr } = await sdxl(args, { cwd: workspace.path, env: { SDXL_CACHE_DIR: workspace.file('cache') } }, 240_000);
    assert.equal(code, 0, stderr);
    for (const file of after.keys()) assert.deepEqual(await readFile(join(folder, file)), await readFile(workspace.file(file)), file);
    const told = history.states.filter(({ metadata }) => metadata.name === 'prompts').map(({ status: { progress } = {} }) => progress);
    for (const read of [imagesDone, percent]) {
      const values = told.map(read);
      assert.deepEqual(
        values,
        values.toSorted((a, b) => a - b),
        'progress went back',
      );
    }
  });

  for (const rank of [0, 1]) {
    test(`the rank of pod ${String(rank)} of two is killed while it denoises`, async () => {
      const name = `pods-${String(rank)}`;
      const folder = await faulted.start(name, twoPods);
      const kept = await faulted.firstImage(folder);
      const pod = await faulted.kill(name, 1, rank, 0, 'SIGKILL', 1);
      const { lastFailure, ...status } = await faulted.completes(name, folder, kept);
      assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
      assert.deepEqual(
        [lastFailure?.attempt, lastFailure?.code, lastFailure?.rank, lastFailure?.pod],
        [1, 'RANK_EXITED', rank, pod.metadata?.name],
      );
    });
  }

  test('a rank hangs', async () => {
    const folder = await faulted.start('hung', onePod);
    const kept = await faulted.firstImage(folder);
    await faulted.kill('hung', 1, 0, 1, 'SIGSTOP');
    const { lastFailure, ...status } = await faulted.completes('hung', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([lastFailure?.attempt, lastFailure?.code, lastFailure?.rank], [1, 'RANK_HUNG', 1]);
    assert.match(lastFailure?.message ?? '', /^rank 1: it has been silent for \d+\.\d s/u);
  });

  test('a launcher is killed, with which its ranks end', async () => {
    const folder = await faulted.start('launcher', onePod);
    const kept = await faulted.firstImage(folder);
    const pod = await jobs.pod('launcher', 1, 0, 'start', () => true);
    const { launcher, ranks } = await jobs.processes(pod, 2);
    process.kill(launcher, 'SIGKILL');
    const { lastFailure, ...status } = await faulted.completes('launcher', folder, kept);
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([lastFailure?.exitCode, lastFailure?.pod], [137, pod.metadata?.name]);
    for (const pid of [launcher, ...ranks]) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });

  test('a rank is killed before the gang is ready, and again while it denoises: the job fails, and says which', async () => {
    const folder = await faulted.start('exhausted', { ...onePod, failurePolicy: { maxRestarts: 1, backoffSeconds: 1 } });
    await faulted.kill('exhausted', 1, 0, 1, 'SIGKILL');
    const { lastFailure, ...again } = await jobs.until('exhausted', 'restart', ({ attempt }) => attempt === 2);
    assert.deepEqual(counted(again), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([lastFailure?.attempt, lastFailure?.code, lastFailure?.rank], [1, 'RANK_EXITED', 1]);
    await faulted.firstImage(folder);
    await faulted.kill('exhausted', 2, 0, 1, 'SIGKILL');
    const status = await jobs.ended('exhausted');
    assert.equal(status.phase, 'Failed');
    assert.deepEqual(counted(status), { attempt: 2, restarts: 1, disruptions: 0 });
    assert.deepEqual([status.lastFailure?.attempt, status.lastFailure?.code, status.lastFailure?.rank], [2, 'RANK_EXITED', 1]);
    const failed = conditionOf(status, 'Failed');
    assert.equal(failed?.reason, 'RestartsExhausted');
    assert.match(failed.message, /^failurePolicy\.maxRestarts is 1; attempt 2 ended: RANK_EXITED \(exhausted-2-0-\w+, rank 1\)/u);
    await jobs.toldOf('exhausted', 'Failed', 'last');
    // Nothing is tried after the end, and nothing half done is left.
    assert.deepEqual([...(await jobs.gangs('exhausted')).keys()], ['exhausted-2']);
    assert.deepEqual(
      (await readdir(folder)).filter((file) => !/^output-\d\.(png|json)$/u.test(file)),
      [],
    );
  });

  test('a job is suspended while it denoises, and goes on from the images it has', async () => {
    const folder = await faulted.start('suspended', onePod);
    const kept = await faulted.firstImage(folder);
    await jobs.patch('suspended', { suspend: true });
    await jobs.until('suspended', 'suspension', (status) => isTrue(status, 'Suspended'));
    const written = (await readdir(folder)).sort();
    assert.deepEqual(
      written.filter((file) => !/^output-\d\.(png|json)$/u.test(file)),
      [],
    );
    await jobs.patch('suspended', { suspend: false });
    assert.deepEqual(counted(await faulted.completes('suspended', folder, kept)), { attempt: 2, restarts: 0, disruptions: 0 });
  });
});

/** Images of a folder, by name. */
async function identities(folder: string): Promise<ReadonlyMap<string, bigint>> {
  const files = (await readdir(folder)).filter((file) => /^output-\d+\.png$/u.test(file)).sort();
  return new Map(await Promise.all(files.map(async (file) => [file, (await stat(join(folder, file), { bigint: true })).ino] as const)));
}

type Progress = JobStatus['progress'];

function imagesDone(progress: Progress): number {
  return progress?.imagesDone ?? 0;
}

function percent(progress: Progress): number {
  return Number.parseInt(progress?.done ?? '0', 10);
}
