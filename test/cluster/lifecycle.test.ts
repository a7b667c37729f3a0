/**
 * A job's life apart from its images: suspended, resumed, out of time, cleaned up, deleted in every phase; operators that are upgraded, paused, or
 * badly connected while jobs run. Whatever state a job is in, kstatus and Argo CD are told what docs/gitops.md promises.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { conditionOf, isTrue, type JobPhase, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { argoHealthOf } from '../support/argo-health.js';
import { clusterSuite, FaultProxy, waitFor } from '../support/cluster/index.js';
import { hasEnded } from '../support/cluster/pods.js';
import { JobHistory, type JobState } from '../support/job-history.js';
import { kstatusOf } from '../support/kstatus.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { standInRanks } from '../support/sdxl-images.js';
import { childrenOfOnePod, SdxlJobs, type Fields } from '../support/sdxl-jobs.js';
import { skipWithout } from '../support/tools.js';

const images = { 'ghcr.io/sdxl-operator/runtime-cpu': standInRanks, 'example.com/next': standInRanks };
const { skip, cluster } = clusterSuite({ nodes: [{ images }] });

/** A spec whose ranks behave like this. */
function behaving(environment: Readonly<Record<string, number | string>>, more: Fields = {}): Fields {
  const env = Object.entries(environment).map(([name, value]) => ({ name, value: String(value) }));
  return { pods: { env }, failurePolicy: { backoffSeconds: 0 }, ...more };
}

function uids(pods: readonly V1Pod[]): readonly (string | undefined)[] {
  return pods.map(({ metadata }) => metadata?.uid);
}

function inPhase(phase: JobPhase): (status: JobStatus) => boolean {
  return (status) => status.phase === phase;
}

const forever = { RUN_SECONDS: 600 };

suite('jobs', { skip, concurrency: 6 }, () => {
  let client: ApiClient;
  let operator: OperatorProcess;
  let jobs: SdxlJobs;
  let history: JobHistory;

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
    history = await JobHistory.start(client);
    operator = await OperatorProcess.start(cluster());
    jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
  });
  after(async () => {
    await operator[Symbol.asyncDispose]();
    await history[Symbol.asyncDispose]();
    await agreed(history.states);
  });

  /** The watch may be behind what is read. */
  async function seen(name: string, is: (state: JobState) => boolean): Promise<void> {
    await waitFor(`state of ${name}`, () => history.states.find((state) => state.metadata.name === name && is(state)));
  }

  const isBuilding = ({ status }: V1Pod): boolean => status?.initContainerStatuses?.[0]?.state?.running !== undefined;
  const phases: Readonly<Record<string, readonly [spec: Fields, reach: (name: string) => Promise<unknown>]>> = {
    pending: [{ pods: { nodeSelector: { none: 'such' } } }, (name) => jobs.until(name, 'wait for a node', waitsFor('Unschedulable'))],
    building: [behaving({ BUILD_SECONDS: 600 }), (name) => jobs.pod(name, 1, 0, 'building', isBuilding)],
    starting: [behaving({ START_SECONDS: 600 }), (name) => jobs.until(name, 'start', waitsFor('Starting'))],
    running: [behaving(forever), (name) => jobs.until(name, 'readiness', inPhase('Running'))],
    restarting: [
      behaving({ EXIT_CODE: 75 }, { failurePolicy: { backoffSeconds: 600 } }),
      (name) => jobs.until(name, 'restart', inPhase('Restarting')),
    ],
    suspended: [behaving(forever, { suspend: true }), (name) => jobs.until(name, 'suspension', inPhase('Suspended'))],
    complete: [behaving({}), (name) => jobs.completed(name)],
    failed: [behaving({ EXIT_CODE: 4 }), (name) => jobs.until(name, 'failure', inPhase('Failed'))],
  };
  for (const [phase, [spec, reach]] of Object.entries(phases)) {
    test(`deleted while it is ${phase}, a job leaves nothing behind`, async () => {
      const name = `delete-${phase}`;
      await jobs.create(name, spec);
      await reach(name);
      // Between two attempts the children of the old one go, and those of the next are not there yet.
      const fewest = { suspended: 0, restarting: 1 }[phase] ?? childrenOfOnePod.length - 1;
      const found = await jobs.children(name);
      assert.ok(found.length >= fewest, found.join(', '));
      await jobs.delete(name);
      await jobs.gone(name);
      // What was under way makes nothing anew.
      await delay(1_000);
      assert.deepEqual(await jobs.children(name), []);
    });
  }

  test('deleted from the leaves to the root, a job is left alone until it is gone', async () => {
    await jobs.create('foreground', behaving(forever));
    await jobs.until('foreground', 'readiness', inPhase('Running'));
    await jobs.delete('foreground', 'Foreground');
    await jobs.gone('foreground');
    await seen('foreground', ({ metadata }) => typeof metadata.deletionTimestamp === 'string');
  });

  test('suspended from the start, a job makes nothing until it is resumed', async () => {
    await jobs.create('held', behaving({}, { suspend: true }));
    const held = await jobs.until('held', 'suspension', (status) => isTrue(status, 'Suspended'));
    assert.deepEqual([held.attempt, held.startTime], [0, undefined]);
    assert.deepEqual(await jobs.children('held'), []);
    await jobs.patch('held', { suspend: false });
    const { attempt, restarts } = await jobs.completed('held');
    assert.deepEqual([attempt, restarts], [1, 0]);
    assert.deepEqual(await jobs.children('held'), childrenOfOnePod);
  });

  test('suspended while it runs, a job frees its pods, and goes on when it is resumed', async () => {
    await jobs.create('paused', behaving(forever, { activeDeadlineSeconds: 600 }));
    const { startTime = '' } = await jobs.until('paused', 'readiness', inPhase('Running'));
    await jobs.patch('paused', { suspend: true });
    const suspended = await jobs.until('paused', 'suspension', (status) => isTrue(status, 'Suspended'));
    assert.deepEqual([suspended.phase, suspended.startTime, suspended.gang], ['Suspended', undefined, undefined]);
    // What has ended holds nothing any more; it may take a moment to be gone.
    assert.deepEqual(
      (await jobs.pods('paused', 1)).filter((pod) => !hasEnded(pod)),
      [],
    );
    await delay(1_000);
    await jobs.patch('paused', { suspend: false });
    await jobs.until('paused', 'readiness', inPhase('Running'));
    await jobs.finish('paused', 2);
    const { attempt, restarts, disruptions, startTime: resumed = '' } = await jobs.completed('paused');
    assert.deepEqual([attempt, restarts, disruptions], [2, 0, 0]);
    // Its time starts anew.
    assert.ok(resumed > startTime, `${resumed} > ${startTime}`);
    await jobs.told('paused', 'Started', 'Suspended', 'Resumed', 'Completed');
  });

  test('a job out of time fails, and its pods end', async () => {
    await jobs.create('late', behaving(forever, { activeDeadlineSeconds: 5 }));
    const status = await jobs.ended('late');
    const failed = conditionOf(status, 'Failed');
    assert.deepEqual([status.phase, failed?.reason, status.lastFailure?.code], ['Failed', 'DeadlineExceeded', 'DeadlineExceeded']);
    assert.match(failed?.message ?? '', /the job was not complete after activeDeadlineSeconds, 5$/u);
    await waitFor('end of its pods', async () => ((await jobs.pods('late', 1)).length === 0 ? true : undefined));
  });

  test('ranks that the kubelet hears and the operator does not are no hung ones', async () => {
    const deadlines = { rendezvousTimeoutSeconds: 1, progressDeadlineSeconds: 1 };
    await jobs.create('mute', behaving({ ...forever, MUTE: 'yes' }, deadlines));
    await jobs.until('mute', 'readiness', (status) => isTrue(status, 'GangReady'));
    await waitFor('a word', () => /rank 0 was not heard.*progress is not shown.*job="mute"/u.test(operator.log) || undefined, {
      context: () => operator.log,
    });
    // The operator's own deadline is a minute later than theirs.
    await delay(75_000);
    await jobs.finish('mute', 1);
    const { attempt, restarts } = await jobs.completed('mute');
    assert.deepEqual([attempt, restarts], [1, 0]);
  });

  test('a job whose ranks fail for good is not tried again', async () => {
    const words = { code: 'IMAGE_NOT_FINITE', exitCode: 4, retriable: false, rank: 0, message: 'image 0 is not finite' };
    await jobs.create('final', behaving({ EXIT_CODE: 4, LAST_WORDS: JSON.stringify(words) }));
    const { attempt, restarts, lastFailure, ...status } = await jobs.ended('final');
    assert.deepEqual([attempt, restarts, lastFailure?.code, lastFailure?.message], [1, 0, words.code, words.message]);
    assert.equal(conditionOf(status, 'Failed')?.reason, 'ImageNotFinite');
    // The pods stay, with their logs.
    assert.equal((await jobs.pods('final', 1)).length, 1);
  });

  test('ranks of another image say what no status can hold', async () => {
    const failure = { code: 'X'.repeat(200), exitCode: 75, retriable: true, rank: 0.5, message: 'no' };
    await jobs.create('babbling', behaving({ EXIT_CODE: 75, LAST_WORDS: JSON.stringify(failure) }, { failurePolicy: { maxRestarts: 0 } }));
    const { lastFailure, ...status } = await jobs.ended('babbling');
    assert.deepEqual([lastFailure?.code, conditionOf(status, 'Failed')?.reason], ['ContainerExited', 'RestartsExhausted']);
    const summary = { latencySeconds: { p50: 1e300, p95: 1.5 }, samples: [-1, 1e308, 1.5] };
    await jobs.create('boasting', behaving({ LAST_WORDS: JSON.stringify(summary) }));
    const { progress } = await jobs.completed('boasting');
    assert.deepEqual([progress?.latencyP50, progress?.latencyP95], [undefined, '1.500s']);
  });

  test('jobs are deleted when their time after the end is over, pods with cleanPodPolicy All at once', async () => {
    await jobs.create('brief', behaving({}, { ttlSecondsAfterFinished: 3 }));
    await jobs.create('clean', behaving({}, { cleanPodPolicy: 'All' }));
    await jobs.create('kept', behaving({}));
    await jobs.gone('brief');
    await seen('brief', ({ status }) => status?.phase === 'Complete');
    await jobs.completed('clean');
    await waitFor('end of its pods', async () => ((await jobs.pods('clean', 1)).length === 0 ? true : undefined));
    await jobs.completed('kept');
    assert.equal((await jobs.pods('kept', 1)).length, 1);
    // It may be set at any time.
    await jobs.patch('kept', { ttlSecondsAfterFinished: 0 });
    await jobs.gone('kept');
  });

  test("another controller's job is left alone", async () => {
    await jobs.create('foreign', behaving({}, { managedBy: 'example.com/other' }));
    await delay(2_000);
    assert.deepEqual(await jobs.children('foreign'), []);
    assert.equal((await jobs.status('foreign')).observedGeneration, -1);
  });
});

function waitsFor(reason: string): (status: JobStatus) => boolean {
  return (status) => conditionOf(status, 'GangReady')?.reason === reason;
}

/** docs/gitops.md, the table of what tools read. */
function promised({ metadata, status = {} }: JobState): readonly [kstatus: string, argo: string] {
  if (typeof metadata.deletionTimestamp === 'string') return ['Terminating', 'Progressing'];
  if (status.observedGeneration !== metadata.generation) return ['InProgress', 'Progressing'];
  const holds = (type: string): boolean => status.conditions?.some((each) => each.type === type && each.status === 'True') ?? false;
  switch (status.phase) {
    case 'Complete':
      return ['Current', 'Healthy'];
    case 'Failed':
      return ['Failed', 'Degraded'];
    case 'Suspended':
      return holds('Suspended') ? ['Current', 'Suspended'] : ['InProgress', 'Progressing'];
    default:
      return ['InProgress', 'Progressing'];
  }
}

async function agreed(states: readonly JobState[]): Promise<void> {
  const phases = new Set(states.map(({ status }) => status?.phase));
  // A job that nobody holds may be gone before anything is said of its end.
  phases.delete('Terminating');
  assert.deepEqual([...phases].sort(), ['Complete', 'Failed', 'Pending', 'Restarting', 'Running', 'Starting', 'Suspended']);
  const seen = new Map<string, JobState>();
  for (const state of states) {
    const [kstatus] = promised(state);
    assert.equal(kstatusOf(state), kstatus, JSON.stringify(state));
    const { observedGeneration, conditions = [], phase } = state.status ?? {};
    const key = [phase, observedGeneration === state.metadata.generation, ...conditions.map(({ type, status }) => `${type}=${status}`)];
    // Argo CD asks no health check about what is being deleted.
    if (typeof state.metadata.deletionTimestamp !== 'string') seen.set(JSON.stringify(key), state);
  }
  if (skipWithout('glua') !== false) return;
  for (const state of seen.values()) {
    const [health, message] = await argoHealthOf(state);
    assert.equal(health, promised(state)[1], JSON.stringify(state));
    assert.notEqual(message, '');
  }
}

suite('operators', { skip, concurrency: 1 }, () => {
  test('one that is replaced by the next version leaves running gangs alone', async () => {
    const client = await openClient(cluster());
    await using first = await OperatorProcess.start(cluster());
    const jobs = new SdxlJobs(cluster(), client, { context: () => first.log });
    await jobs.create('upgraded', behaving(forever));
    await jobs.until('upgraded', 'readiness', inPhase('Running'));
    const before = uids(await jobs.pods('upgraded', 1));
    assert.equal(await first.end('SIGTERM'), 0, first.log);
    await using second = await OperatorProcess.start(cluster(), { args: ['--runtime-image', 'example.com/next:2'] });
    await waitFor('the next version', () => (second.log.includes('reconciling') ? true : undefined), { context: () => second.log });
    await jobs.finish('upgraded', 1);
    const { attempt, restarts, disruptions } = await jobs.completed('upgraded');
    assert.deepEqual([attempt, restarts, disruptions], [1, 0, 0]);
    const [pod] = await jobs.pods('upgraded', 1);
    assert.deepEqual([pod?.metadata?.uid, pod?.spec?.containers[0]?.image], [...before, pod?.spec?.containers[0]?.image]);
    assert.match(pod?.spec?.containers[0]?.image ?? '', /runtime-cpu/u);
    await jobs.create('after-upgrade', behaving({}));
    await jobs.completed('after-upgrade');
    const [next] = await jobs.pods('after-upgrade', 1);
    assert.equal(next?.spec?.containers[0]?.image, 'example.com/next:2');
  });

  test('a leader that sleeps through its lease writes nothing when it wakes', async (t) => {
    const client = await openClient(cluster());
    await using proxy = await FaultProxy.start(cluster());
    const args = ['--leader-elect', '--leader-election-namespace', 'default', '--log-level', 'debug'];
    await using first = await OperatorProcess.start(cluster(), { args, server: proxy.url });
    await waitFor('a leader', () => (first.log.includes('reconciling') ? true : undefined), { context: () => first.log });
    await using second = await OperatorProcess.start(cluster(), { args });
    const jobs = new SdxlJobs(cluster(), client, { context: () => `${first.log}\n${second.log}` });
    await jobs.create('slept-through', behaving(forever));
    await jobs.until('slept-through', 'readiness', inPhase('Running'));
    first.pause();
    const paused = performance.now();
    await waitFor('a successor', () => (second.log.includes('reconciling') ? true : undefined), { context: () => second.log });
    t.diagnostic(`takeover in ${((performance.now() - paused) / 1000).toFixed(1)} s`);
    // Work that both would do at once, if both led.
    await jobs.create('by-successor', behaving({}));
    proxy.forgetCalls();
    first.resume();
    await jobs.completed('by-successor');
    await waitFor('insight', () => (first.log.includes('stops leading') ? true : undefined), { context: () => first.log });
    await jobs.finish('slept-through', 1);
    const { attempt, restarts } = await jobs.completed('slept-through');
    assert.deepEqual([attempt, restarts], [1, 0]);
    const written = proxy.calls.filter(({ method, status }) => method !== 'GET' && status !== undefined && status < 300);
    assert.deepEqual(written, [], 'the old leader wrote after it was succeeded');
    for (const name of ['slept-through', 'by-successor']) assert.deepEqual(await jobs.children(name), childrenOfOnePod);
    // It is a replica like any other again.
    await second.end('SIGTERM');
    await jobs.create('led-again', behaving({}));
    await jobs.completed('led-again');
  });

  test('calls that are slow, or break before or after they were done', async () => {
    const client = await openClient(cluster());
    await using proxy = await FaultProxy.start(cluster());
    for (const resource of ['sdxljobs', 'jobs', 'services', 'configmaps', 'secrets', 'persistentvolumeclaims', 'events']) {
      proxy.inject({ isMutating: true, resource }, { type: 'drop', when: 'after' });
      proxy.inject({ isMutating: true, resource }, { type: 'drop', when: 'before' });
      proxy.inject({ isMutating: true, resource }, { type: 'delay', ms: 1_500 });
    }
    for (const resource of ['sdxljobs', 'jobs', 'pods']) proxy.inject({ verb: 'list', resource }, { type: 'drop', when: 'after' });
    await using operator = await OperatorProcess.start(cluster(), { server: proxy.url });
    const jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
    await jobs.create('badly-connected', behaving({ RUN_SECONDS: 1 }));
    const { attempt, restarts, disruptions } = await jobs.completed('badly-connected');
    assert.deepEqual([attempt, restarts, disruptions], [1, 0, 0]);
    assert.deepEqual(await jobs.children('badly-connected'), childrenOfOnePod);
    assert.ok(proxy.calls.filter(({ isInjected }) => isInjected).length >= 15);
  });

  test('a view of pods that is behind that of Jobs: what the ranks said at their end is not missed', async () => {
    const client = await openClient(cluster());
    await using proxy = await FaultProxy.start(cluster());
    await using operator = await OperatorProcess.start(cluster(), { server: proxy.url });
    const jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
    const words = { images: 1, imagesWritten: 1, latencySeconds: { p50: 1.25, p95: 1.5 }, samples: [1.25] };
    await jobs.create('behind', behaving({ ...forever, LAST_WORDS: JSON.stringify(words) }));
    await jobs.until('behind', 'readiness', inPhase('Running'));
    assert.equal(proxy.pauseWatches({ resource: 'pods' }), 1);
    await jobs.finish('behind', 1);
    const { progress } = await jobs.completed('behind');
    assert.deepEqual([progress?.latencyP50, progress?.latencyP95], ['1.250s', '1.500s']);
    await operator.measures(/^sdxl_job_image_latency_seconds_sum\{namespace="default"\} 1\.25$/mu);
  });

  test('a view of Jobs that is behind: one that its queue has started stays so', async () => {
    const client = await openClient(cluster());
    await using proxy = await FaultProxy.start(cluster());
    await using operator = await OperatorProcess.start(cluster(), { server: proxy.url });
    const jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
    const watched = { resource: 'jobs', group: 'batch' };
    await waitFor('its watch', () => (proxy.watches(watched).length === 1 ? true : undefined), { context: () => operator.log });
    proxy.pauseWatches(watched);
    await jobs.create('queued', behaving({}, { scheduling: { queueName: 'gpus' } }));
    await waitFor('its Job', async () => ((await jobs.gangs('queued')).has('queued-1') ? true : undefined), {
      context: () => operator.log,
    });
    await client.call({
      verb: 'PATCH',
      path: '/apis/batch/v1/namespaces/default/jobs/queued-1',
      contentType: 'application/merge-patch+json',
      body: { spec: { suspend: false } },
      signal: AbortSignal.timeout(30_000),
    });
    // A reason to look at the job, whose Job the operator does not see yet.
    await jobs.patch('queued', { ttlSecondsAfterFinished: 600 });
    await jobs.until('queued', 'a look', ({ observedGeneration }) => observedGeneration === 2);
    proxy.resumeWatches();
    const { attempt, disruptions } = await jobs.completed('queued');
    assert.deepEqual([attempt, disruptions], [1, 0]);
  });
});
