/**
 * The operator is killed after each single call of a job's life, and another goes on: everything is made once, no attempt is spent, nothing is lost,
 * and no process is left. Every position has a namespace of its own, so that they run side by side.
 */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BatchV1Api } from '@kubernetes/client-node';
import { conditionOf, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, FaultProxy, waitFor, type FinishedCall } from '../support/cluster/index.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { SdxlJobs, type Fields } from '../support/sdxl-jobs.js';

/**
 * Stands for the runtime where only the operator is of interest: builds nothing, and has written its images at once. In the first
 * attempt the second pod fails, while the first one waits for it.
 */
const ranks = `test "$1" = build && exit 0
case "$NODE_RANK $MASTER_ADDR" in
  "1 job-1-"*) exit 75 ;;
  "0 job-1-"*) trap 'exit 143' TERM; while :; do sleep 0.1; done ;;
  *) sleep 0.2 ;;
esac`;
const images = { 'ghcr.io/sdxl-operator/runtime-cpu': { entrypoint: ['/bin/sh', '-c', ranks, 'ranks'], user: 10_001 } };
const { skip, cluster } = clusterSuite({ nodes: [{ images }] });

/** A life of two attempts: every call of a life of one, of one pod or more, is among its calls. */
const spec: Fields = { parallelism: { patchDegree: 2, ranksPerPod: 1 }, failurePolicy: { backoffSeconds: 0 } };
const attempts = 2;
const kinds = ['configmaps', 'networkpolicies', 'secrets', 'services'];

/** What is there at the end: of the first attempt all but its Job and pods. */
const children = [
  ...kinds.flatMap((kind) => [`${kind}/job-1`, `${kind}/job-2`]),
  ...['jobs/job-2', 'pods/job-2-0', 'pods/job-2-1', 'persistentvolumeclaims/job-output'],
].sort();
/** Kinds of what is made: each attempt's objects, and one claim. */
const madeOnce = [...Array.from({ length: attempts }, () => [...kinds, 'jobs']).flat(), 'persistentvolumeclaims'].sort();

/** Processes of this machine that are ranks of a job in this namespace. */
async function processesOf(namespace: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/u.test(entry))) {
    // Most have ended before they are read.
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(`.${namespace}.svc\0`)) found.push(pid);
  }
  return found;
}

/** Kinds of the objects that these calls made, each as often as it was. */
function made(calls: readonly FinishedCall[]): readonly string[] {
  const creating = calls.filter(
    ({ status, resource, verb }) => status === 201 && resource !== 'events' && ['create', 'patch'].includes(verb),
  );
  return creating.map(({ resource }) => resource).sort();
}

suite('the operator killed', { skip }, () => {
  let client: ApiClient;
  let closing = Promise.resolve();

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
  });
  after(() => closing);

  /** One life of a job, its operator killed after the call at `position`; @returns whether it was reached. */
  async function live(position: number): Promise<boolean> {
    const namespace = await cluster().namespace();
    await using proxy = await FaultProxy.start(cluster());
    const options = { server: proxy.url, args: ['--namespace', namespace.name] };
    await using first = await OperatorProcess.start(cluster(), options);
    let log = (): string => first.log;
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, context: () => `position ${String(position)}\n${log()}` });
    const state = { killed: false };
    proxy.at(position, {}, 'answered', async () => {
      await first.end('SIGKILL');
      state.killed = true;
    });
    await jobs.create('job', spec);
    await waitFor(
      'end of the job or of the operator',
      async () => state.killed || conditionOf(await jobs.status('job'), 'Complete')?.status === 'True' || undefined,
      { timeoutMs: 180_000, context: log },
    );
    // The event of the end comes after it.
    if (!state.killed) await delay(500);
    const { killed } = state;
    await first.end('SIGKILL');
    await using second = await OperatorProcess.start(cluster(), options);
    log = (): string => `${first.log}\n${second.log}`;
    const status = await jobs.completed('job');
    await settled(jobs, status);
    // What the first had written and not told, the second tells; and nothing is told twice.
    await waitFor('the last event', async () => (await jobs.events('job')).includes('Completed') || undefined, { context: log });
    const told = await jobs.events('job');
    assert.deepEqual(
      ['Started', 'Restarting', 'Completed'].map((reason) => told.filter((each) => each === reason).length),
      [1, 1, 1],
      `position ${String(position)}: ${told.join()}`,
    );
    assert.deepEqual(made(proxy.calls), madeOnce, `position ${String(position)}\n${log()}`);
    closing = closing.then(() => namespace[Symbol.asyncDispose]());
    return killed;
  }

  async function settled(jobs: SdxlJobs, status: JobStatus): Promise<void> {
    assert.deepEqual([status.attempt, status.restarts, status.disruptions], [attempts, 1, 0], JSON.stringify(status));
    assert.deepEqual(
      [conditionOf(status, 'GangReady')?.reason, conditionOf(status, 'Reconciling')?.status, conditionOf(status, 'Stalled')?.status],
      ['Ended', 'False', 'False'],
    );
    const { lastFailure } = status;
    assert.deepEqual([lastFailure?.attempt, lastFailure?.exitCode], [1, 75]);
    // Job and pods are those that were written down, and there are no others.
    assert.deepEqual(await jobs.children('job'), children);
    const { items } = await cluster().api(BatchV1Api).listNamespacedJob({ namespace: jobs.namespace });
    assert.deepEqual(
      items.map(({ metadata }) => metadata?.uid),
      [status.gang?.jobUid],
    );
    const pods = await jobs.pods('job', attempts);
    assert.deepEqual(
      status.gang?.pods?.map(({ uid }) => uid),
      pods.map(({ metadata }) => metadata?.uid),
    );
    await waitFor('end of its processes', async () => ((await processesOf(jobs.namespace)).length === 0 ? true : undefined));
  }

  test('after each call of the life of a job of two pods of which one fails at first', async (t) => {
    const killed: number[] = [];
    let next = 1;
    let isOver = false;
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!isOver) {
          const position = next++;
          // A position that is not reached shows that no call was left out.
          if (await live(position)) killed.push(position);
          else isOver = true;
        }
      }),
    );
    t.diagnostic(`${String(killed.length)} positions`);
    assert.ok(killed.length > 24, String(killed.length));
  });
});
