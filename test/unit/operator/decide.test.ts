import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { conditionTypes, conditionOf, type StoredJob } from '../../../operator/api/index.js';
import type { GangPod } from '../../../operator/controller/observed.js';
import { toldBy } from '../../../operator/controller/told.js';
import { attemptChildren } from '../../../operator/resources/index.js';
import { after, decideOn, gang, job, lastWords, now, pod, running, settings, trueConditions, type PodState } from './observations.js';

const kinds = (step: ReturnType<typeof decideOn>): string[] => step.apply.map(({ resource }) => resource.kind);
const removed = (step: ReturnType<typeof decideOn>): string[] => step.remove.map(({ object }) => object.metadata.name);
const seconds = (count: number): Date => new Date(now.getTime() + count * 1000);

test('a new job is written down and begun', () => {
  const step = decideOn({ job: job() });
  assert.deepEqual(kinds(step), ['PersistentVolumeClaim', 'ConfigMap', 'Secret', 'Service', 'NetworkPolicy', 'Job']);
  assert.equal(step.status?.attempt, 1);
  assert.equal(step.status.startTime, '2026-01-01T00:02:00Z');
  assert.deepEqual(
    step.events.map(({ reason }) => reason),
    ['Started'],
  );
  const begun = after(job(), step);
  assert.deepEqual(trueConditions(begun), ['Reconciling']);
  // Every condition that readers wait for is there from the start.
  for (const type of ['Complete', 'Failed', 'Suspended', 'GangReady', 'Reconciling', 'Stalled'] as const) {
    assert.ok(conditionOf(begun.status, type), type);
  }
});

test('a gang that ended before anybody saw it is written down with its end', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const identity = { jobUid: 'gang-1', pods: [{ index: 0, name: 'flowers-rabbit-1-0', uid: 'pod-1-0' }] };
  const complete = decideOn({ job: begun, gangs: [gang(1, ['Complete'])], pods: [pod(1, 0, { phase: 'Succeeded', exitCode: 0 })] });
  assert.deepEqual([complete.status?.phase, complete.status?.gang], ['Complete', identity]);
  const final = { code: 'MODEL_NOT_FOUND', exitCode: 3, retriable: false, message: 'there is no model' };
  const pods = [pod(1, 0, { phase: 'Failed', exitCode: 3, words: final })];
  const failed = decideOn({ job: begun, gangs: [gang(1, ['Failed'])], pods });
  assert.deepEqual([failed.status?.phase, failed.status?.gang], ['Failed', identity]);
});

test('children that were not applied in time are applied again, and the status is left alone', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const step = decideOn({ job: begun });
  assert.equal(step.status, undefined);
  assert.deepEqual(kinds(step).at(-1), 'Job');
  assert.deepEqual(step.events, []);
});

test('a settled gang is left alone', () => {
  const state = running();
  assert.deepEqual(trueConditions(state.job), ['GangReady', 'Reconciling']);
  const step = decideOn({ ...state, now: seconds(60) });
  assert.deepEqual([step.status, step.apply, step.remove, step.events, step.facts], [undefined, [], [], [], []]);
});

test('the identities of a gang are written down', () => {
  const { job: seen } = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 2);
  assert.deepEqual(seen.status.gang, {
    jobUid: 'gang-1',
    pods: [
      { index: 0, name: 'flowers-rabbit-1-0', uid: 'pod-1-0' },
      { index: 1, name: 'flowers-rabbit-1-1', uid: 'pod-1-1' },
    ],
  });
});

const waits: readonly (readonly [name: string, state: PodState | undefined, reason: string, refused?: string])[] = [
  ['no pod yet', undefined, 'PodsNotCreated'],
  ['a quota in the way', undefined, 'QuotaExceeded', 'pods "a" is forbidden: exceeded quota: q'],
  ['a refused pod', undefined, 'PodsNotCreated', 'admission webhook denied the request'],
  ['no node', { phase: 'Pending', unscheduled: '0/3 nodes are available: 3 Insufficient nvidia.com/gpu.' }, 'Unschedulable'],
  ['a scheduler that nobody runs', { phase: 'Pending', unheeded: '2026-01-01T00:01:45Z' }, 'Unschedulable'],
  ['an unbound claim', { phase: 'Pending', unscheduled: 'pod has unbound immediate PersistentVolumeClaims' }, 'ClaimNotBound'],
  ['a claim that is not there', { phase: 'Pending', unscheduled: 'persistentvolumeclaim "models" not found' }, 'ClaimNotBound'],
  ['an image that is not there', { phase: 'Pending', waiting: 'ImagePullBackOff' }, 'ImagePullFailed'],
  ['a Secret that is not there', { phase: 'Pending', waiting: 'CreateContainerConfigError' }, 'ContainerNotCreated'],
  ['engines', { phase: 'Pending', building: true, waiting: 'PodInitializing' }, 'Initializing'],
  ['readiness', {}, 'Starting'],
];

for (const [name, state, reason, podsRefused] of waits) {
  test(`a gang that waits for ${name} says so, and uses up no attempt`, () => {
    const begun = after(job(), decideOn({ job: job() }));
    const pods = state === undefined ? [] : [pod(1, 0, state)];
    const step = decideOn({ job: begun, gangs: [gang(1)], pods, podsRefused });
    const seen = after(begun, step);
    assert.equal(conditionOf(seen.status, 'GangReady')?.reason, reason);
    assert.deepEqual([seen.status.attempt, seen.status.restarts, seen.status.disruptions], [1, 0, 0]);
    assert.deepEqual(decideOn({ job: seen, gangs: [gang(1)], pods, podsRefused }).status, undefined);
    assert.deepEqual([step.remove, step.apply], [[], []]);
  });
}

test('pods that are about to be created are no reason to look twice', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const young = decideOn({ job: begun, gangs: [gang(1, [], { creationTimestamp: '2026-01-01T00:01:58Z' })] });
  const { reason, message } = conditionOf(after(begun, young).status, 'GangReady') ?? {};
  assert.deepEqual([reason, message, young.requeueAfterMs], ['Starting', '0 of 1 pods are created', 3_000]);
});

test('a scheduler has time to look at a pod before anybody is warned', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const pods = [pod(1, 0, { phase: 'Pending', unheeded: '2026-01-01T00:01:55Z' })];
  const step = decideOn({ job: begun, gangs: [gang(1)], pods });
  const { reason } = conditionOf(after(begun, step).status, 'GangReady') ?? {};
  assert.deepEqual([reason, step.events, step.requeueAfterMs], ['Starting', [], 10_000]);
});

test('a claim has time to be bound before anybody is warned', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const unscheduled = 'pod has unbound immediate PersistentVolumeClaims';
  const pods = [pod(1, 0, { phase: 'Pending', unscheduled, since: '2026-01-01T00:01:55Z' })];
  const first = decideOn({ job: begun, gangs: [gang(1)], pods });
  const seen = after(begun, first);
  const ready = conditionOf(seen.status, 'GangReady');
  assert.deepEqual(
    [ready?.reason, ready?.message.includes(unscheduled), first.events, first.requeueAfterMs],
    ['Starting', true, [], 10_000],
  );
  const later = decideOn({ job: seen, gangs: [gang(1)], pods, now: seconds(10) });
  assert.deepEqual(
    [conditionOf(after(seen, later).status, 'GangReady')?.reason, later.events.map(({ reason }) => reason)],
    ['ClaimNotBound', ['ClaimNotBound']],
  );
  assert.equal(later.requeueAfterMs, undefined);
});

test('what was deleted before all pods had mounted it is made again; a Secret that other pods have read is a disruption', () => {
  const spec = { parallelism: { patchDegree: 2, ranksPerPod: 1 } };
  const begun = after(job(spec), decideOn({ job: job(spec) }));
  const gangs = [gang(1)];
  const waits = pod(1, 1, { mountingSince: '2026-01-01T00:01:40Z' });
  const seen = after(begun, decideOn({ job: begun, gangs, pods: [waits, waits] }));
  assert.match(
    conditionOf(seen.status, 'GangReady')?.message ?? '',
    /flowers-rabbit-1-1: its volumes are mounted or its image is pulled$/u,
  );
  assert.equal(decideOn({ job: seen, gangs, pods: [waits] }).requeueAfterMs, 15_000);
  const [, configMap, secret] = attemptChildren(job(spec), 1, settings, now);
  assert.ok(configMap !== undefined && secret !== undefined);
  for (const [first, missing, made] of [
    [pod(1, 0, { mountingSince: '2026-01-01T00:01:40Z' }), [configMap, secret], ['ConfigMap', 'Secret']],
    [pod(1, 0), [configMap], ['ConfigMap']],
  ] as const) {
    const step = decideOn({ job: seen, gangs, pods: [first, waits], missing });
    assert.deepEqual([kinds(step), removed(step), step.events.map(({ reason }) => reason)], [made, [], ['ChildDeleted']]);
    assert.equal(after(seen, step).status.attempt, 1);
  }
  const step = decideOn({ job: seen, gangs, pods: [pod(1, 0), waits], missing: [secret] });
  const { status } = after(seen, step);
  assert.deepEqual([kinds(step), removed(step), status.disruptions, status.restarts], [[], ['flowers-rabbit-1'], 1, 0]);
  assert.deepEqual([status.lastFailure?.code, conditionOf(status, 'Restarting')?.reason], ['ChildDeleted', 'ChildDeleted']);
});

test('an output claim that was deleted before its pods had a node is asked after', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const lacks = (claim: string): PodState => ({
    phase: 'Pending',
    unscheduled: `persistentvolumeclaim "${claim}" not found`,
    since: '2026-01-01T00:01:00Z',
  });
  for (const [claim, again] of [
    ['flowers-rabbit-output', 30_000],
    ['models', undefined],
  ] as const) {
    assert.equal(decideOn({ job: begun, gangs: [gang(1)], pods: [pod(1, 0, lacks(claim))] }).requeueAfterMs, again);
  }
});

test('a job queued with Kueue waits for its queue', () => {
  const queued = job({ scheduling: { queueName: 'gpus' } });
  const begun = after(queued, decideOn({ job: queued }));
  const suspended = { ...gang(1), suspended: true };
  assert.equal(conditionOf(after(begun, decideOn({ job: begun, gangs: [suspended] })).status, 'GangReady')?.reason, 'WaitingForQueue');
  // Somebody suspended the Job of a job that is in no queue.
  const unqueued = after(job(), decideOn({ job: job() }));
  const { message } = conditionOf(after(unqueued, decideOn({ job: unqueued, gangs: [suspended] })).status, 'GangReady') ?? {};
  assert.equal(message, 'Job flowers-rabbit-1 is suspended, and not by this operator: it goes on once its spec.suspend is false');
});

test('success is complete once the Job is', () => {
  const state = running();
  const summary = { latencySeconds: { mean: 1.2, p50: 1.1, p95: 1.5 }, samples: [1.1, 1.5] };
  const pods = [pod(1, 0, { exitCode: 0, words: summary })];
  const first = decideOn({ ...state, pods, gangs: [gang(1, ['SuccessCriteriaMet'])] });
  const succeeded = after(state.job, first);
  assert.deepEqual(trueConditions(succeeded), ['SuccessCriteriaMet', 'Reconciling']);
  const step = decideOn({ job: succeeded, pods, gangs: [gang(1, ['SuccessCriteriaMet', 'Complete'])] });
  const complete = after(succeeded, step);
  assert.deepEqual(trueConditions(complete), ['Complete', 'SuccessCriteriaMet']);
  assert.deepEqual(step.facts, [{ type: 'finished', result: 'complete', latencies: [1.1, 1.5] }]);
  assert.equal(complete.status.progress?.done, '100%');
  assert.equal(complete.status.progress.latencyP95, '1.500s');
  const settled = decideOn({ job: complete, pods, gangs: [gang(1, ['Complete'])] });
  assert.deepEqual([settled.status, settled.apply, settled.remove, settled.requeueAfterMs], [undefined, [], [], undefined]);
});

test('the step of a complete job is the last of its last image, whatever was heard before', () => {
  for (const [spec, last] of [
    [{ numInferenceSteps: 12 }, 12],
    [{ prompt: undefined, prompts: [{ prompt: 'a' }, { prompt: 'b', numInferenceSteps: 7 }] }, 7],
  ] as const) {
    const state = running(spec);
    const heard = { ...state.job, status: { ...state.job.status, progress: { done: '40%', phase: 'denoise', step: 3 } } };
    const { status } = decideOn({ ...state, job: heard, gangs: [gang(1, ['Complete'])] });
    assert.deepEqual([status?.progress?.step, status?.progress?.phase, status?.progress?.done], [last, 'done', '100%']);
  }
});

test('a job that has ended never gets children again', () => {
  const state = running();
  const complete = after(state.job, decideOn({ ...state, pods: [], gangs: [gang(1, ['Complete'])] }));
  assert.deepEqual(decideOn({ job: complete }).apply, []);
});

test('a failure that may pass is counted, written down, and only then deleted; the next attempt waits for the last and for its time', () => {
  const state = running({ failurePolicy: { backoffSeconds: 30 } });
  const pods = [pod(1, 0, { exitCode: 75, words: lastWords('RANK_EXITED', 75, true, 3) })];
  const failed = decideOn({ ...state, pods, gangs: [gang(1, ['FailureTarget'])] });
  assert.deepEqual(removed(failed), ['flowers-rabbit-1']);
  assert.deepEqual(failed.apply, []);
  assert.deepEqual(failed.facts, [{ type: 'restarted', reason: 'failure' }]);
  const restarting = after(state.job, failed);
  assert.deepEqual(trueConditions(restarting), ['Restarting', 'Reconciling']);
  const { attempt, restarts, lastFailure, restartTime, gang: identity } = restarting.status;
  // Server-side apply makes null of an object that loses all its fields, and the schema refuses that.
  assert.deepEqual([attempt, restarts, restartTime, identity], [2, 1, '2026-01-01T00:02:30Z', undefined]);
  assert.deepEqual(lastFailure, {
    attempt: 1,
    pod: 'flowers-rabbit-1-0',
    rank: 3,
    exitCode: 75,
    code: 'RANK_EXITED',
    message: 'it said RANK_EXITED',
    time: '2026-01-01T00:01:00Z',
  });
  // Killed in between: the deletion is made up for, the count stays.
  const again = decideOn({ job: restarting, pods, gangs: [gang(1, ['FailureTarget'])] });
  assert.deepEqual([removed(again), again.apply, again.status?.restarts ?? 1], [['flowers-rabbit-1'], [], 1]);
  // The old pod still ends.
  const waiting = decideOn({ job: restarting, pods: [pod(1, 0, { deleted: '2026-01-01T00:02:20Z' })], now: seconds(30) });
  assert.deepEqual(waiting.apply, []);
  const early = decideOn({ job: restarting, now: seconds(10) });
  assert.deepEqual([early.apply, early.requeueAfterMs], [[], 20_000]);
  const due = decideOn({ job: restarting, now: seconds(30) });
  assert.deepEqual(due.apply.at(-1)?.object.metadata.name, 'flowers-rabbit-2');
  const next = after(restarting, decideOn({ job: restarting, gangs: [gang(2)], pods: [pod(2, 0, { ready: true })], now: seconds(40) }));
  assert.deepEqual(trueConditions(next), ['GangReady', 'Reconciling']);
});

test('a pod deleted by hand is written down at once: it may be gone before its peers have ended', () => {
  const state = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 2);
  const deleted = [pod(1, 0, { ready: true }), pod(1, 1, { deleted: now.toISOString() })];
  const ending = after(state.job, decideOn({ ...state, pods: deleted }));
  assert.deepEqual([ending.status.lastFailure?.code, ending.status.lastFailure?.pod], ['PodDeleted', 'flowers-rabbit-1-1']);
  const left = [pod(1, 0, { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) })];
  const { status } = decideOn({ ...state, job: ending, pods: left, gangs: [gang(1, ['FailureTarget'])], now: seconds(70) });
  assert.deepEqual([status?.disruptions, status?.restarts, status?.lastFailure?.code], [1, 0, 'PodDeleted']);
});

test('the wait doubles with each restart, up to five minutes', () => {
  for (const [restarts, wait] of [
    [0, 5],
    [1, 10],
    [2, 20],
    [9, 300],
  ] as const) {
    const state = running({ failurePolicy: { maxRestarts: 100 } });
    const seen = { ...state.job, status: { ...state.job.status, restarts } };
    const step = decideOn({ ...state, job: seen, pods: [pod(1, 0, { exitCode: 75 })], gangs: [gang(1, ['Failed'])] });
    assert.equal(step.status?.restartTime, seconds(wait).toISOString().replace('.000', ''));
  }
});

const ends: readonly {
  readonly name: string;
  readonly pods: readonly PodState[];
  readonly restarts?: number;
  readonly disruptions?: number;
  readonly failed?: string;
  readonly code: string;
  readonly rank?: number;
}[] = [
  {
    name: 'a job that is not valid',
    pods: [{ exitCode: 2, words: lastWords('MODEL_NOT_FOUND', 2, false) }],
    failed: 'ModelNotFound',
    code: 'MODEL_NOT_FOUND',
    rank: 0,
  },
  {
    name: 'too little memory',
    pods: [{ exitCode: 3, words: lastWords('MEMORY_INSUFFICIENT', 3, false) }],
    failed: 'MemoryInsufficient',
    code: 'MEMORY_INSUFFICIENT',
    rank: 0,
  },
  {
    name: 'a flat image',
    pods: [{ exitCode: 4, words: lastWords('IMAGE_FLAT', 4, false) }],
    failed: 'ImageFlat',
    code: 'IMAGE_FLAT',
    rank: 0,
  },
  { name: 'exit code 2 without a word', pods: [{ exitCode: 2 }], failed: 'ContainerExited', code: 'ContainerExited' },
  { name: 'a killed container', pods: [{ exitCode: 137 }], restarts: 1, code: 'ContainerExited' },
  {
    name: 'a lost peer, and its cause in another pod',
    pods: [
      { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1), finishedAt: '2026-01-01T00:00:59Z' },
      { exitCode: 75, words: lastWords('RANK_HUNG', 75, true, 1) },
    ],
    restarts: 1,
    code: 'RANK_HUNG',
    rank: 1,
  },
  {
    name: 'an error that must not be retried beside its consequences',
    pods: [
      { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) },
      { exitCode: 3, words: lastWords('OUTPUT_UNWRITABLE', 3, false) },
    ],
    failed: 'OutputUnwritable',
    code: 'OUTPUT_UNWRITABLE',
    rank: 0,
  },
  {
    name: 'an eviction',
    pods: [
      { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) },
      { exitCode: 143, disrupted: 'EvictionByEvictionAPI' },
    ],
    disruptions: 1,
    code: 'EvictionByEvictionAPI',
  },
  {
    name: 'a lost node',
    pods: [{ exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) }, { deleted: '2026-01-01T00:01:00Z' }],
    disruptions: 1,
    code: 'NodeLost',
  },
  {
    name: 'a pod that was deleted',
    pods: [{ exitCode: 143, words: lastWords('CANCELLED', 143, false), deleted: '2026-01-01T00:00:59Z' }],
    disruptions: 1,
    code: 'PodDeleted',
  },
  {
    name: 'a pod that is deleted because another failed',
    pods: [
      { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) },
      { exitCode: 143, deleted: '2026-01-01T00:00:59Z' },
    ],
    restarts: 1,
    code: 'PEER_LOST',
    rank: 1,
  },
  {
    name: 'ranks that did not find each other',
    pods: [
      { exitCode: 75, words: lastWords('RENDEZVOUS_TIMEOUT', 75, true, 1) },
      { exitCode: 75, words: lastWords('RENDEZVOUS_TIMEOUT', 75, true, 0), finishedAt: '2026-01-01T00:01:30Z' },
    ],
    restarts: 1,
    code: 'RENDEZVOUS_TIMEOUT',
    rank: 1,
  },
  {
    name: 'pods told to end',
    pods: [{ exitCode: 143, words: lastWords('CANCELLED', 143, false) }, { exitCode: 137 }],
    restarts: 1,
    code: 'ContainerExited',
  },
];

for (const { name, pods: states, restarts = 0, disruptions = 0, failed, code, rank } of ends) {
  test(`the end of a gang by ${name}`, () => {
    const state = running({ parallelism: { patchDegree: 2, ranksPerPod: states.length === 2 ? 1 : 2 } }, states.length);
    const pods = states.map((each, index) => pod(1, index, each));
    const step = decideOn({ ...state, pods, gangs: [gang(1, ['FailureTarget'])] });
    assert.ok(step.status);
    const { status } = after(state.job, step);
    assert.deepEqual([status.restarts, status.disruptions], [restarts, disruptions]);
    assert.deepEqual([status.lastFailure?.code, status.lastFailure?.rank], [code, rank]);
    assert.equal(conditionOf(status, 'Failed')?.status, failed === undefined ? 'False' : 'True');
    if (failed !== undefined) assert.equal(conditionOf(status, 'Stalled')?.reason, failed);
    // An infrastructure's fault waits for nothing.
    assert.equal(status.restartTime !== undefined, restarts > 0);
  });
}

test('a gang is judged when all its pods have ended', () => {
  const state = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 2);
  const pods = [pod(1, 0, { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) }), pod(1, 1, { ready: true })];
  const first = decideOn({ ...state, pods });
  const seen = after(state.job, first);
  assert.deepEqual([seen.status.restarts, first.remove], [0, []]);
  assert.deepEqual(trueConditions(seen), ['FailureTarget', 'Reconciling']);
  // Not for ever.
  const late = decideOn({ ...state, job: seen, pods, now: seconds(61) });
  assert.equal(late.status?.restarts, 1);
});

test('a pod that was taken away counts as such, also where it is gone before its peers have ended', () => {
  const state = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 2);
  const evicted = pod(1, 1, { ready: true, disrupted: 'EvictionByEvictionAPI', deleted: '2026-01-01T00:02:30Z' });
  const told = decideOn({ ...state, pods: [pod(1, 0, { ready: true }), evicted] });
  const seen = after(state.job, told);
  assert.equal(conditionOf(seen.status, 'FailureTarget')?.reason, 'PodDisrupted');
  assert.deepEqual([seen.status.lastFailure?.code, seen.status.lastFailure?.pod], ['EvictionByEvictionAPI', evicted.metadata.name]);
  // Still waiting, later: nothing new is written.
  assert.equal(decideOn({ ...state, job: seen, pods: [pod(1, 0, { ready: true }), evicted], now: seconds(2) }).status, undefined);
  const peer = pod(1, 0, { exitCode: 75, words: lastWords('PEER_LOST', 75, true, 1) });
  const { status } = decideOn({ ...state, job: seen, pods: [peer], gangs: [gang(1, ['FailureTarget'])], now: seconds(3) });
  assert.deepEqual([status?.disruptions, status?.restarts ?? 0], [1, 0]);
  assert.deepEqual([status?.lastFailure?.code, status?.lastFailure?.pod], ['EvictionByEvictionAPI', evicted.metadata.name]);
  // A rank that must not be tried again says so whatever else happened.
  const final = pod(1, 0, { exitCode: 3, words: lastWords('OUTPUT_UNWRITABLE', 3, false) });
  const failed = decideOn({ ...state, job: seen, pods: [final], gangs: [gang(1, ['FailureTarget'])], now: seconds(3) });
  assert.equal(failed.status?.phase, 'Failed');
});

test('an attempt that cannot succeed ends, also where its pods are gone without a trace', () => {
  const state = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 2);
  const deleted = [0, 1].map((index) => pod(1, index, { phase: 'Pending', deleted: '2026-01-01T00:02:30Z' }));
  const seen = after(state.job, decideOn({ ...state, pods: deleted }));
  assert.deepEqual(trueConditions(seen), ['FailureTarget', 'Reconciling']);
  const { status } = decideOn({ job: seen, gangs: [{ ...gang(1), suspended: true }] });
  assert.deepEqual([status?.phase, status?.disruptions, status?.lastFailure?.code], ['Restarting', 1, 'PodDeleted']);
});

test('a Job that is suspended by somebody is made anew once its pods are gone, whether they were seen to go or not', () => {
  const state = running();
  const suspended = [{ ...gang(1), suspended: true }];
  // Its pods are deleted in a moment.
  const seen = after(state.job, decideOn({ ...state, gangs: suspended }));
  assert.deepEqual([seen.status.attempt, seen.status.disruptions], [1, 0]);
  const { status } = decideOn({ job: seen, gangs: suspended });
  assert.deepEqual([status?.phase, status?.attempt, status?.disruptions, status?.lastFailure?.code], ['Restarting', 2, 1, 'PodDeleted']);
  assert.match(status?.lastFailure?.message ?? '', /^Job flowers-rabbit-1 was suspended, .*gone: flowers-rabbit-1-0$/u);
});

test('conditions speak of the attempt that is under way', () => {
  const state = running();
  const failed = [pod(1, 0, { exitCode: 75 })];
  const restarting = after(state.job, decideOn({ ...state, pods: failed, gangs: [gang(1, ['Failed'])] }));
  assert.equal(conditionOf(restarting.status, 'Reconciling')?.message, 'attempt 2 is under way');
  const held = { ...restarting, spec: { ...restarting.spec, suspend: true } };
  const suspended = { ...after(held, decideOn({ job: held })), spec: state.job.spec };
  const resumed = after(suspended, decideOn({ job: suspended }));
  assert.equal(
    conditionOf(resumed.status, 'Restarting')?.message,
    `attempt ${String(resumed.status.attempt)} goes on where the job was suspended`,
  );
  assert.equal(resumed.status.restarts, 1);
});

test('what was foreseen of an attempt is not said of the next, nor of another end', () => {
  const state = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 2);
  const evicted = pod(1, 1, { ready: true, disrupted: 'EvictionByEvictionAPI' });
  const ending = after(state.job, decideOn({ ...state, pods: [pod(1, 0, { ready: true }), evicted] }));
  const held = { ...ending, spec: { ...ending.spec, suspend: true } };
  const suspended = after(held, decideOn({ job: held }));
  assert.deepEqual(trueConditions(suspended), ['Suspended']);
  const resumed = { ...suspended, spec: ending.spec };
  const begun = after(resumed, decideOn({ job: resumed }));
  assert.deepEqual([begun.status.attempt, trueConditions(begun)], [2, ['Reconciling']]);

  const complete = after(ending, decideOn({ job: ending, gangs: [gang(1, ['Complete'])] }));
  assert.deepEqual(trueConditions(complete), ['Complete', 'SuccessCriteriaMet']);
  const peers = [pod(1, 0, { exitCode: 0 }), pod(1, 1, { ready: true })];
  const succeeding = after(state.job, decideOn({ ...state, pods: peers }));
  assert.deepEqual(trueConditions(succeeding), ['SuccessCriteriaMet', 'Reconciling']);
  const final = [pod(1, 0, { exitCode: 0 }), pod(1, 1, { exitCode: 3, words: lastWords('OUTPUT_UNWRITABLE', 3, false) })];
  const failed = after(succeeding, decideOn({ job: succeeding, gangs: [gang(1, ['Failed'])], pods: final }));
  assert.deepEqual(trueConditions(failed), ['Failed', 'FailureTarget', 'Stalled']);
});

test('restarts and disruptions have limits of their own', () => {
  const state = running({ failurePolicy: { maxRestarts: 0, maxDisruptions: 0 } });
  const failure = decideOn({ ...state, pods: [pod(1, 0, { exitCode: 75 })], gangs: [gang(1, ['Failed'])] });
  assert.equal(conditionOf(after(state.job, failure).status, 'Failed')?.reason, 'RestartsExhausted');
  const disruption = decideOn({
    ...state,
    pods: [pod(1, 0, { exitCode: 143, disrupted: 'PreemptionByScheduler' })],
    gangs: [gang(1, ['Failed'])],
  });
  assert.equal(conditionOf(after(state.job, disruption).status, 'Failed')?.reason, 'DisruptionsExhausted');
});

test('a gang that was tampered with is a disruption', () => {
  const state = running();
  const cases = [
    { gangs: [] },
    { gangs: [gang(1, [], { uid: 'another' })] },
    { gangs: [gang(1, [], { deletionTimestamp: '2026-01-01T00:01:00Z' })] },
    { pods: [pod(1, 0, { ready: true, uid: 'another' })] },
  ];
  for (const change of cases) {
    const { status } = after(state.job, decideOn({ ...state, ...change }));
    assert.deepEqual([status.attempt, status.restarts, status.disruptions], [2, 0, 1], JSON.stringify(change));
  }
});

test('a gang that tells of no progress is started again', () => {
  const state = running({ progressDeadlineSeconds: 10, rendezvousTimeoutSeconds: 20 });
  assert.equal(decideOn({ ...state, stalledMs: 79_000 }).status, undefined);
  const { status } = after(state.job, decideOn({ ...state, stalledMs: 81_000 }));
  assert.deepEqual([status.restarts, status.lastFailure?.code], [1, 'GangHung']);
});

test('a pod that has ended is no sign of life of the other one', () => {
  const state = running({ progressDeadlineSeconds: 10, rendezvousTimeoutSeconds: 20 });
  const pods = [pod(1, 0, { exitCode: 0, phase: 'Succeeded' }), pod(1, 1, { phase: 'Running' })];
  const { status } = after(state.job, decideOn({ ...state, pods, stalledMs: 81_000 }));
  assert.deepEqual([status.restarts, status.lastFailure?.code], [1, 'GangHung']);
});

test('a job past its deadline has failed, and its gang is deleted', () => {
  const state = running({ activeDeadlineSeconds: 100 });
  assert.equal(decideOn({ ...state, now: seconds(40) }).requeueAfterMs, 60_000);
  const step = decideOn({ ...state, now: seconds(100) });
  const failed = after(state.job, step);
  assert.equal(conditionOf(failed.status, 'Failed')?.reason, 'DeadlineExceeded');
  assert.deepEqual(removed(decideOn({ ...state, job: failed })), ['flowers-rabbit-1']);
});

test('suspended: the gang is deleted, nothing is counted; resumed: a new attempt', () => {
  const state = running();
  const held = { ...state.job, spec: { ...state.job.spec, suspend: true } };
  const step = decideOn({ ...state, job: held });
  assert.deepEqual(removed(step), ['flowers-rabbit-1']);
  const suspending = after(held, step);
  assert.deepEqual(trueConditions(suspending), ['Reconciling']);
  assert.equal(suspending.status.phase, 'Suspended');
  const suspended = after(suspending, decideOn({ job: suspending }));
  assert.deepEqual(trueConditions(suspended), ['Suspended']);
  assert.equal(suspended.status.startTime, undefined);
  assert.equal(decideOn({ job: suspended }).status, undefined);
  const resumed = { ...suspended, spec: { ...suspended.spec, suspend: false } };
  const next = decideOn({ job: resumed, now: seconds(500) });
  assert.equal(next.apply.at(-1)?.object.metadata.name, 'flowers-rabbit-2');
  assert.deepEqual([next.status?.restarts, next.status?.disruptions, next.status?.startTime], [0, 0, '2026-01-01T00:10:20Z']);
  assert.deepEqual(
    next.events.map(({ reason }) => reason),
    ['Resumed'],
  );
});

test('a job resumed while its last gang still ends waits for it', () => {
  const state = running();
  const held = { ...state.job, spec: { ...state.job.spec, suspend: true } };
  const suspending = after(held, decideOn({ ...state, job: held }));
  const resumed = { ...suspending, spec: { ...suspending.spec, suspend: false } };
  const ending = { gangs: [gang(1, [], { deletionTimestamp: '2026-01-01T00:02:00Z' })], pods: state.pods };
  const step = decideOn({ job: resumed, ...ending });
  assert.deepEqual(step.apply, []);
  const chosen = after(resumed, step);
  assert.equal(chosen.status.attempt, 2);
  assert.deepEqual(decideOn({ job: chosen, ...ending }).apply, []);
  assert.equal(decideOn({ job: chosen }).apply.at(-1)?.object.metadata.name, 'flowers-rabbit-2');
});

test('a job created suspended makes nothing', () => {
  const held = job({ suspend: true });
  const step = decideOn({ job: held });
  assert.deepEqual([step.apply, step.status?.attempt], [[], 0]);
  assert.deepEqual(trueConditions(after(held, step)), ['Suspended']);
});

test('a Job of an old attempt that a finalizer holds is not waited for longer than pods may take', () => {
  const state = running({ failurePolicy: { backoffSeconds: 0 } });
  const due = after(state.job, decideOn({ ...state, pods: [pod(1, 0, { phase: 'Failed', exitCode: 75 })] }));
  const held = [gang(1, ['Failed'], { deletionTimestamp: now.toISOString() })];
  assert.deepEqual(kinds(decideOn({ job: due, gangs: held, now: seconds(10) })), []);
  assert.equal(kinds(decideOn({ job: due, gangs: held, now: seconds(20) })).at(-1), 'Job');
});

test('time to live and clean-up begin when the job has ended', () => {
  const state = running({ ttlSecondsAfterFinished: 60, cleanPodPolicy: 'All' });
  const complete = after(state.job, decideOn({ ...state, gangs: [gang(1, ['Complete'])] }));
  const step = decideOn({ job: complete, gangs: [gang(1, ['Complete'])], now: seconds(10) });
  assert.deepEqual([removed(step), step.requeueAfterMs], [['flowers-rabbit-1'], 50_000]);
  assert.deepEqual(removed(decideOn({ job: complete, now: seconds(60) })), ['flowers-rabbit']);
});

test('jobs of others are left alone, and of jobs that are being deleted the gang is ended', () => {
  const deletionTimestamp = '2026-01-01T00:00:00Z';
  const state = running();
  const complete = after(state.job, decideOn({ ...state, gangs: [gang(1, ['Complete'])] }));
  const deleted = { ...complete, metadata: { ...complete.metadata, deletionTimestamp } };
  const foreign = { managedBy: 'example.com/other' };
  const gangs = [gang(1), gang(2, [], { deletionTimestamp })];
  for (const [each, ended] of [
    [job(foreign), []],
    [job(foreign, {}, { deletionTimestamp }), []],
    [deleted, ['flowers-rabbit-1']],
  ] as const) {
    const step = decideOn({ job: each, gangs });
    assert.deepEqual([step.status, step.apply, removed(step), step.events], [undefined, [], ended, []]);
  }
  assert.ok(decideOn({ job: job({ managedBy: 'sdxl.io/sdxl-operator' }) }).status);
});

test('a job that is being deleted and held by a finalizer is not said to run', () => {
  const state = running();
  const metadata = { ...state.job.metadata, deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['example.com/held'] };
  const deleted = { ...state.job, metadata };
  const first = decideOn({ ...state, job: deleted });
  assert.deepEqual([first.status, removed(first)], [undefined, ['flowers-rabbit-1']]);
  const seen = after(deleted, decideOn({ job: deleted }));
  assert.deepEqual([seen.status.phase, trueConditions(seen)], ['Terminating', ['Reconciling']]);
  const { reason, message } = conditionOf(seen.status, 'GangReady') ?? {};
  assert.deepEqual([reason, message], ['Terminating', 'the job is being deleted, and held by finalizers: example.com/held']);
  assert.equal(decideOn({ ...state, gangs: [], job: seen }).status, undefined);
});

test('a job that is deleted without its children leaves its gang alone', () => {
  const state = running();
  const metadata = { ...state.job.metadata, deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['orphan'] };
  const step = decideOn({ ...state, job: { ...state.job, metadata } });
  assert.deepEqual([step.status, step.remove, step.events], [undefined, [], []]);
});

test('pods that are refused are told of once, however often they are tried', () => {
  const begun = after(job(), decideOn({ job: job() }));
  const seen = after(begun, decideOn({ job: begun, gangs: [gang(1)] }));
  assert.equal(conditionOf(seen.status, 'GangReady')?.reason, 'PodsNotCreated');
  const refusal = (suffix: string): string => `Error creating: pods "flowers-rabbit-1-0-${suffix}" is forbidden: violates PodSecurity`;
  const first = decideOn({ job: seen, gangs: [gang(1)], podsRefused: refusal('abcde') });
  const message = 'Error creating: pods "flowers-rabbit-1" is forbidden: violates PodSecurity';
  assert.deepEqual(first.events, [{ type: 'Warning', reason: 'PodsNotCreated', message }]);
  const again = decideOn({ job: after(seen, first), gangs: [gang(1)], podsRefused: refusal('fghij') });
  assert.deepEqual([again.status, again.events], [undefined, []]);
});

suite('containers that others have put into the pods', () => {
  const sidecar = (terminated?: { readonly exitCode: number }): GangPod['containers'][number] => ({
    name: 'proxy',
    init: true,
    ready: terminated === undefined,
    ...(terminated === undefined
      ? {}
      : { terminated: { ...terminated, reason: 'Error', message: '', finishedAt: '2026-01-01T00:01:00Z' } }),
  });
  const beside = (its: GangPod, other: GangPod['containers'][number]): GangPod => ({ ...its, containers: [other, ...its.containers] });

  test('are not to blame where ranks say how they ended, and are where nothing of ours failed', () => {
    const state = running();
    for (const [pods, code, counts] of [
      [beside(pod(1, 0, { exitCode: 75, words: lastWords('RANK_HUNG', 75, true, 3) }), sidecar({ exitCode: 137 })), 'RANK_HUNG', [1, 0]],
      [beside(pod(1, 0, { exitCode: 143, deleted: '2026-01-01T00:01:30Z' }), sidecar({ exitCode: 137 })), 'PodDeleted', [0, 1]],
      [beside(pod(1, 0, { exitCode: 0, phase: 'Failed' }), sidecar({ exitCode: 9 })), 'ContainerExited', [1, 0]],
    ] as const) {
      const { status } = decideOn({ ...state, pods: [pods], gangs: [gang(1, ['FailureTarget'])] });
      assert.deepEqual([status?.lastFailure?.code, [status?.restarts, status?.disruptions]], [code, counts]);
    }
  });

  test('hold a pod whose ranks have failed no longer than its peers may', () => {
    const state = running();
    const pods = [beside(pod(1, 0, { phase: 'Running', exitCode: 75, words: lastWords('RANK_HUNG', 75, true, 3) }), sidecar())];
    const seen = after(state.job, decideOn({ ...state, pods }));
    assert.deepEqual(trueConditions(seen), ['FailureTarget', 'Reconciling']);
    const { status, remove } = decideOn({ ...state, job: seen, pods, now: seconds(61) });
    assert.deepEqual([status?.restarts, status?.lastFailure?.code, remove.length], [1, 'RANK_HUNG', 1]);
  });

  test('are told of where they hold a pod whose images are made, and the gang is no hung one', () => {
    const state = running();
    const pods = [beside(pod(1, 0, { phase: 'Running', exitCode: 0, finishedAt: '2026-01-01T00:01:50Z' }), sidecar())];
    const first = decideOn({ ...state, pods });
    const ending = after(state.job, first);
    assert.deepEqual([conditionOf(ending.status, 'GangReady')?.reason, first.events, first.requeueAfterMs], ['Ended', [], 25_000]);
    const step = decideOn({ ...state, job: ending, pods, now: seconds(30), stalledMs: 10_000_000 });
    const seen = after(ending, step);
    const { reason, message = '' } = conditionOf(seen.status, 'GangReady') ?? {};
    assert.deepEqual([reason, step.events.map((event) => event.reason), seen.status.restarts], ['SidecarRunning', ['SidecarRunning'], 0]);
    assert.match(message, /its ranks have ended with code 0, and it waits for others to end: proxy$/u);
  });
});

test('what a status tells of by itself is what was told when it was written', () => {
  const reasons: string[] = [];
  const tells = (before: StoredJob, step: ReturnType<typeof decideOn>): StoredJob => {
    const written = after(before, step);
    const told = toldBy(written, seconds(-1));
    for (const event of step.events)
      assert.ok(
        told.some((each) => isDeepStrictEqual(each, event)),
        JSON.stringify([event, told]),
      );
    reasons.push(...step.events.map(({ reason }) => reason));
    assert.deepEqual(toldBy(written, seconds(1)), []);
    return written;
  };
  const begun = tells(job(), decideOn({ job: job() }));
  const pods = [pod(1, 0, { ready: true })];
  const ready = tells(begun, decideOn({ job: begun, gangs: [gang(1)], pods }));
  const failed = { pods: [pod(1, 0, { exitCode: 75 })], gangs: [gang(1, ['Failed'])] };
  tells(ready, decideOn({ job: ready, ...failed }));
  tells(ready, decideOn({ job: ready, gangs: [gang(1, ['Complete'])], pods }));
  tells(ready, decideOn({ job: ready, ...failed, pods: [pod(1, 0, { exitCode: 3 })] }));
  const held = { ...ready, spec: { ...ready.spec, suspend: true } };
  const suspended = tells(held, decideOn({ job: held }));
  tells({ ...suspended, spec: ready.spec }, decideOn({ job: { ...suspended, spec: ready.spec } }));
  assert.deepEqual(reasons, ['Started', 'GangReady', 'Restarting', 'Completed', 'Failed', 'Suspended', 'Resumed']);
});

test('a change of the spec is observed, also after the end', () => {
  const state = running();
  const complete = after(state.job, decideOn({ ...state, gangs: [gang(1, ['Complete'])] }));
  const changed = { ...complete, metadata: { ...complete.metadata, generation: 2 } };
  const seen = after(changed, decideOn({ job: changed, gangs: [gang(1, ['Complete'])] }));
  assert.equal(seen.status.observedGeneration, 2);
  assert.deepEqual(new Set(seen.status.conditions?.map(({ observedGeneration }) => observedGeneration)), new Set([2]));
  assert.ok(conditionTypes.includes('Complete'));
});

test('pods that have ended stay, with their logs, also where their Job does not tell of it yet', () => {
  const state = running();
  const pods = [pod(1, 0, { exitCode: 4, words: lastWords('IMAGE_FLAT', 4, false) })];
  const failed = after(state.job, decideOn({ ...state, pods }));
  assert.equal(failed.status.phase, 'Failed');
  assert.deepEqual(removed(decideOn({ job: failed, gangs: [gang(1)], pods })), []);
  assert.deepEqual(removed(decideOn({ job: failed, gangs: [gang(1)], pods: [pod(1, 0, { ready: true })] })), ['flowers-rabbit-1']);
});

test('ranks that waited in vain for a pod that had no node are no failure of the job', () => {
  const { job: seen } = running({ parallelism: { patchDegree: 2, ranksPerPod: 1 } }, 1);
  const gaveUp = pod(1, 0, { exitCode: 75, words: lastWords('RENDEZVOUS_TIMEOUT', 75, true, 1), finishedAt: '2026-01-01T00:01:00Z' });
  const placed = (mountingSince: string): GangPod => pod(1, 1, { exitCode: 143, phase: 'Failed', mountingSince });
  // The second may even have got the first one's place.
  for (const [pods, counts] of [
    [[gaveUp], [0, 1]],
    [
      [gaveUp, placed('2026-01-01T00:01:01Z')],
      [0, 1],
    ],
    [
      [gaveUp, placed('2026-01-01T00:00:30Z')],
      [1, 0],
    ],
  ] as const) {
    const { status } = decideOn({ job: seen, gangs: [gang(1, ['FailureTarget'])], pods });
    assert.deepEqual([status?.restarts, status?.disruptions], counts);
    assert.deepEqual([status?.lastFailure?.code, status?.lastFailure?.rank], ['RENDEZVOUS_TIMEOUT', 1]);
  }
});
