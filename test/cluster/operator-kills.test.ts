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
import { clusterSuite, FaultProxy, waitFor, matches, type CallPattern, type FinishedCall } from '../support/cluster/index.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { SdxlJobs, type Fields } from '../support/sdxl-jobs.js';

/**
 * Stands for the runtime where only the operator is of interest: builds nothing, and has written its images at once. Of two pods the second fails
 * in the first attempt, while the first one waits for it.
 */
const ranks = `test "$1" = build && exit 0
case "$NODE_RANK $WORLD_SIZE $MASTER_ADDR" in
  "1 2 job-1-"*) exit 75 ;;
  "0 2 job-1-"*) trap 'exit 143' TERM; while :; do sleep 0.1; done ;;
  *) sleep 0.2 ;;
esac`;
const images = { 'ghcr.io/sdxl-operator/runtime-cpu': { entrypoint: ['/bin/sh', '-c', ranks, 'ranks'], user: 10_001 } };
const { skip, cluster } = clusterSuite({ nodes: [{ images }] });

interface Life {
  readonly spec: Fields;
  readonly attempt: number;
  readonly pods: number;
  /** Which calls. */
  readonly pattern: CallPattern;
  /** Children of attempts that have ended, and the claim. */
  readonly left: readonly string[];
}

const kinds = ['configmaps', 'networkpolicies', 'secrets', 'services'];
const lives: Readonly<Record<string, Life>> = {
  'one pod that succeeds': { spec: {}, attempt: 1, pods: 1, left: [], pattern: { isMutating: true } },
  'two pods of which one fails at first': {
    spec: { parallelism: { patchDegree: 2, ranksPerPod: 1 }, failurePolicy: { backoffSeconds: 0 } },
    attempt: 2,
    pods: 2,
    left: kinds.map((kind) => `${kind}/job-1`),
    // Reads too: a life of two attempts holds every call of a life of one.
    pattern: {},
  },
};

function childrenOf({ attempt, pods, left }: Life): readonly string[] {
  const name = `job-${String(attempt)}`;
  const each = [...kinds, 'jobs'].map((kind) => `${kind}/${name}`);
  const its = Array.from({ length: pods }, (_, index) => `pods/${name}-${String(index)}`);
  return [...left, ...each, ...its, 'persistentvolumeclaims/job-output'].sort();
}

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

/** What the server answered to calls that made something, by the paths of the objects. */
function made(calls: readonly FinishedCall[]): readonly string[] {
  return calls
    .filter(({ status, resource, verb }) => status === 201 && resource !== 'events' && ['create', 'patch'].includes(verb))
    .map(({ resource, name, path }) => `${resource}/${name === '' ? path : name}`)
    .sort();
}

suite('the operator killed', { skip, concurrency: 4 }, () => {
  let client: ApiClient;
  let closing = Promise.resolve();

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
  });
  after(() => closing);

  /** One life of a job, its operator killed after the call at `position`; @returns the calls of both operators, and whether it was reached. */
  async function live(life: Life, position: number): Promise<{ readonly calls: readonly FinishedCall[]; readonly killed: boolean }> {
    const namespace = await cluster().namespace();
    await using proxy = await FaultProxy.start(cluster());
    const options = { server: proxy.url, args: ['--namespace', namespace.name] };
    await using first = await OperatorProcess.start(cluster(), options);
    let log = (): string => first.log;
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, context: () => `position ${String(position)}\n${log()}` });
    const state = { killed: false };
    proxy.at(position, life.pattern, 'answered', async () => {
      await first.end('SIGKILL');
      state.killed = true;
    });
    await jobs.create('job', life.spec);
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
    await settled(life, jobs, status);
    const once = made(proxy.calls);
    assert.deepEqual(once, [...new Set(once)], `position ${String(position)}: made twice\n${log()}`);
    closing = closing.then(() => namespace[Symbol.asyncDispose]());
    return { calls: proxy.calls, killed };
  }

  async function settled(life: Life, jobs: SdxlJobs, status: JobStatus): Promise<void> {
    const { attempt } = life;
    const restarts = attempt - 1;
    assert.deepEqual([status.attempt, status.restarts, status.disruptions], [attempt, restarts, 0], JSON.stringify(status));
    assert.deepEqual(
      [conditionOf(status, 'GangReady')?.reason, conditionOf(status, 'Reconciling')?.status, conditionOf(status, 'Stalled')?.status],
      ['Ended', 'False', 'False'],
    );
    const { lastFailure } = status;
    assert.deepEqual([lastFailure?.attempt, lastFailure?.exitCode], restarts === 0 ? [undefined, undefined] : [1, 75]);
    // Job and pods are those that were written down, and there are no others.
    assert.deepEqual(await jobs.children('job'), childrenOf(life));
    const { items } = await cluster().api(BatchV1Api).listNamespacedJob({ namespace: jobs.namespace });
    assert.deepEqual(
      items.map(({ metadata }) => metadata?.uid),
      [status.gang?.jobUid],
    );
    const pods = await jobs.pods('job', attempt);
    assert.deepEqual(
      status.gang?.pods?.map(({ uid }) => uid),
      pods.map(({ metadata }) => metadata?.uid),
    );
    await waitFor('end of its processes', async () => ((await processesOf(jobs.namespace)).length === 0 ? true : undefined));
  }

  for (const [what, life] of Object.entries(lives)) {
    test(`after each call of the life of a job of ${what}`, async (t) => {
      const never = Number.MAX_SAFE_INTEGER;
      const { calls } = await live(life, never);
      // More than a life takes: the last positions show that no call was left out.
      const last = calls.filter((call) => call.verb !== 'watch' && matches(call, life.pattern)).length + 2;
      const positions = Array.from({ length: last }, (_, index) => index + 1).values();
      const killed: number[] = [];
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          for (const position of positions) if ((await live(life, position)).killed) killed.push(position);
        }),
      );
      t.diagnostic(`${String(killed.length)} positions`);
      assert.ok(killed.length > 8 && killed.length < last, `killed after ${String(killed.length)} of ${String(last)} calls`);
    });
  }
});
