/**
 * From what was read to what is to be done: a pure function. It never looks at an event, only at the state; called again on the state its step
 * leads to, it decides on the step after, and on a settled state it decides on nothing.
 *
 * The life of a job: begin (an attempt is chosen and written down) → its children are applied → its pods run → the gang ends → the job is complete,
 * or has failed for good, or a restart is written down, the old gang is deleted, and the next attempt's children are applied once its pods are gone.
 * Counters are written before anything is deleted, so that a failure is counted once whenever this process ends.
 */
import {
  isFinished,
  isTrue,
  managedByName,
  attemptName,
  podCount,
  timestamp,
  withConditions,
  conditionOf,
  jobResource,
  type ConditionChange,
  type ConditionType,
  type JobStatus,
  type StoredJob,
} from '../api/index.js';
import { resources } from '../kube/index.js';
import { attemptChildren, type Settings } from '../resources/index.js';
import { waitsFor } from './gang-state.js';
import { holds, type GangJob, type GangPod, type Observed } from './observed.js';
import { isDisrupted, isEnded, isLost, judgeGang, lostPodMs, type GangEnd } from './pod-end.js';
import { nothing, type Fact, type Step } from './step.js';
import { summaryOf } from './summary.js';

const maxBackoffMs = 300_000;
/** The runtime's own watchdog comes first: this one is for launchers that hang themselves. */
const stallSlackMs = 60_000;
const missingPodsMs = 5_000;
/** A gang of which a pod failed is judged without its other pods after so long. */
const settleMs = 60_000;

export function decide(observed: Observed, settings: Settings): Step {
  const { job } = observed;
  if (job.metadata.deletionTimestamp !== undefined) return nothing;
  if (job.spec.managedBy !== undefined && job.spec.managedBy !== managedByName) return nothing;
  if (isFinished(job.status)) return afterEnd(observed);
  const view = new View(observed);
  if (view.current !== undefined && holds(view.current, 'Complete')) return complete(view);
  if (job.spec.suspend) return suspend(view);
  if (view.attempt === 0 || isTrue(job.status, 'Suspended') || job.status.phase === 'Suspended') return begin(view, settings);
  const deadline = deadlineOf(view);
  if (deadline !== undefined && deadline <= 0) return fail(view, deadlineExceeded(view));
  const step = view.current === undefined ? start(view, settings) : follow(view, view.current);
  return deadline === undefined ? step : { ...step, requeueAfterMs: Math.min(step.requeueAfterMs ?? Infinity, deadline) };
}

/** What was read, sorted by attempt. */
class View {
  readonly job: StoredJob;
  readonly now: Date;
  readonly attempt: number;
  /** The current attempt's Job. */
  readonly current: GangJob | undefined;
  /** Jobs of other attempts. */
  readonly old: readonly GangJob[];
  /** Pods of the current attempt's Job, by index. */
  readonly pods: readonly GangPod[];
  /** Pods of other attempts, and of a Job that is gone, which still hold resources. */
  readonly oldPods: readonly GangPod[];
  readonly observed: Observed;

  constructor(observed: Observed) {
    const { job, gangs, pods, now } = observed;
    this.observed = observed;
    this.job = job;
    this.now = now;
    this.attempt = job.status.attempt ?? 0;
    this.current = gangs.find(({ attempt }) => attempt === this.attempt);
    this.old = gangs.filter((gang) => gang !== this.current);
    const uid = this.current?.metadata.uid;
    this.pods = pods.filter(({ jobUid }) => jobUid === uid).sort((a, b) => a.index - b.index);
    this.oldPods = pods.filter((pod) => pod.jobUid !== uid && !isEnded(pod) && !isLost(pod, now));
  }

  /** The status with these changes and conditions; undefined where that is what it is. */
  status(changes: Partial<JobStatus>, conditions: Readonly<Partial<Record<ConditionType, ConditionChange>>>): JobStatus | undefined {
    const { status, metadata } = this.job;
    const { progress, ...kept } = { ...status, ...changes };
    const next = withConditions(kept, conditions, metadata.generation, this.now);
    // Progress has a writer of its own, until the job has ended.
    const last = changes.progress ?? (isFinished(status) ? progress : undefined);
    const { progress: shown, ...before } = status;
    const [written, present] =
      last === undefined
        ? [next, before]
        : [
            { ...next, progress: last },
            { ...before, progress: shown },
          ];
    return same(written, present) ? undefined : written;
  }

  step(status: JobStatus | undefined, rest: Partial<Step> = {}): Step {
    const { events = [], facts = [], ...others } = rest;
    // What is told happened with the change of the status: without a change it was told before.
    return status === undefined ? { ...nothing, ...others } : { ...nothing, ...others, status, events, facts };
  }
}

/** Chooses the next attempt and writes it down; its children are applied in the same step if nothing of an old attempt is in the way. */
function begin(view: View, settings: Settings): Step {
  const { job, now } = view;
  const attempt = view.attempt + 1;
  const resumed = view.attempt > 0;
  const status = view.status(
    {
      phase: 'Starting',
      attempt,
      restarts: job.status.restarts ?? 0,
      disruptions: job.status.disruptions ?? 0,
      startTime: timestamp(now),
      gang: {},
    },
    {
      Complete: { status: false, reason: 'NotEnded', message: 'the images are not all made yet' },
      Failed: { status: false, reason: 'NotEnded', message: 'nothing has ended the job' },
      Suspended: { status: false, reason: resumed ? 'Resumed' : 'NotSuspended', message: 'the job may run' },
      GangReady: { status: false, reason: 'NotStarted', message: 'the pods are not created yet' },
      Restarting: { status: false, reason: 'FirstAttempt', message: 'no attempt has failed' },
      Reconciling: { status: true, reason: 'Progressing', message: `attempt ${String(attempt)} is under way` },
      Stalled: { status: false, reason: 'Progressing', message: 'nothing is in the way' },
    },
  );
  const clear = view.old.length === 0 && view.oldPods.length === 0 && view.current === undefined;
  const event = resumed
    ? ({ type: 'Normal', reason: 'Resumed', message: `resumed with attempt ${String(attempt)}` } as const)
    : ({ type: 'Normal', reason: 'Started', message: `attempt ${String(attempt)}: ${describeGang(job)}` } as const);
  return view.step(status, { apply: clear ? attemptChildren(job, attempt, settings) : [], events: [event] });
}

/** No Job of the current attempt: apply it as soon as nothing is in the way, or find that it was taken away. */
function start(view: View, settings: Settings): Step {
  const { job, now, attempt, old, oldPods } = view;
  if (job.status.gang?.jobUid !== undefined) {
    return restart(view, disrupted(view, 'JobDeleted', `Job ${attemptName(job, attempt)} is gone, and not by this operator`));
  }
  const remove = old
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map((object) => ({ resource: resources.job, object }));
  if (old.length > 0 || oldPods.length > 0) {
    const leaving = oldPods.map(({ metadata }) => metadata.name).join(', ');
    const message = leaving === '' ? 'the last attempt is being deleted' : `pods of the last attempt are ending: ${leaving}`;
    return view.step(view.status({}, { GangReady: { status: false, reason: 'NotStarted', message } }), {
      remove,
      requeueAfterMs: lostPodMs / 3,
    });
  }
  const waitMs = job.status.restartTime === undefined ? 0 : Date.parse(job.status.restartTime) - now.getTime();
  if (waitMs > 0) {
    const message = `attempt ${String(attempt)} starts at ${job.status.restartTime ?? ''}`;
    return view.step(view.status({}, { GangReady: { status: false, reason: 'NotStarted', message } }), { requeueAfterMs: waitMs });
  }
  return view.step(view.status({}, {}), { apply: attemptChildren(job, attempt, settings) });
}

/** The current attempt's Job is there: see how its pods do. */
function follow(view: View, current: GangJob): Step {
  const { job, now, attempt, pods } = view;
  const { gang } = job.status;
  const name = current.metadata.name;
  if (gang?.jobUid !== undefined && gang.jobUid !== current.metadata.uid) {
    return restart(view, disrupted(view, 'JobReplaced', `Job ${name} was replaced by another of its name`));
  }
  if (current.metadata.deletionTimestamp !== undefined) {
    return restart(view, disrupted(view, 'JobDeleted', `Job ${name} is being deleted, and not by this operator`));
  }
  const replaced = pods.find(({ index, metadata }) => {
    const known = gang?.pods?.find((pod) => pod.index === index);
    return known !== undefined && known.uid !== metadata.uid;
  });
  if (replaced !== undefined) {
    const message = `pod ${String(replaced.index)} was replaced by ${replaced.metadata.name}: its peers would wait for the one before`;
    return restart(view, disrupted(view, 'PodReplaced', message));
  }
  const { stalledMs = 0 } = view.observed;
  if (stalledMs > stallLimitMs(job)) return restart(view, hung(view, stalledMs));
  if (isEnding(view, current)) return ending(view, current);
  return settle(view, current, attempt, now);
}

/** Whether the attempt cannot succeed any more. */
function isEnding({ pods }: View, current: GangJob): boolean {
  if (holds(current, 'FailureTarget') || holds(current, 'Failed')) return true;
  return pods.some(
    (pod) => pod.phase === 'Failed' || isDisrupted(pod) || (pod.metadata.deletionTimestamp !== undefined && pod.phase !== 'Succeeded'),
  );
}

/** A pod failed or is taken away. The gang is judged when all its pods have ended: the culprit is often not the first to be seen. */
function ending(view: View, current: GangJob): Step {
  const { pods, now, attempt } = view;
  const open = pods.filter((pod) => !isEnded(pod) && !isLost(pod, now));
  const since = conditionOf(view.job.status, 'FailureTarget');
  const sinceMs = since?.status === 'True' ? now.getTime() - Date.parse(since.lastTransitionTime) : 0;
  if (open.length === 0 || sinceMs > settleMs) return restart(view, judgeGang(attempt, pods, now));
  const names = open.map(({ metadata }) => metadata.name).join(', ');
  const status = view.status(gangIdentity(view, current), {
    GangReady: { status: false, reason: 'Ended', message: 'a pod of the gang has ended' },
    FailureTarget: { status: true, reason: 'PodEnded', message: `attempt ${String(attempt)} cannot succeed` },
  });
  return view.step(status, {
    requeueAfterMs: lostPodMs / 3,
    events: [{ type: 'Normal', reason: 'GangEnding', message: `waiting for ${names} to end` }],
  });
}

/** Nothing has ended: tell what the gang waits for. */
function settle(view: View, current: GangJob, attempt: number, now: Date): Step {
  const { job, pods } = view;
  const count = podCount(job.spec);
  const waiting = waitsFor(current, pods, count, view.observed.podsRefused);
  const wasReady = isTrue(job.status, 'GangReady');
  const succeeded = holds(current, 'SuccessCriteriaMet') || pods.some(({ phase }) => phase === 'Succeeded');
  const restarts = (job.status.restarts ?? 0) + (job.status.disruptions ?? 0);
  const ready: ConditionChange = succeeded
    ? { status: false, reason: 'Ended', message: 'pods have ended with success' }
    : waiting === undefined
      ? { status: true, reason: 'PodsReady', message: `${String(count)} of ${String(count)} pods are ready` }
      : { status: false, ...waiting };
  const status = view.status(
    { ...gangIdentity(view, current), phase: ready.status || wasReady || succeeded ? 'Running' : 'Starting' },
    {
      GangReady: ready,
      ...(restarts === 0 || !isTrue(job.status, 'Restarting')
        ? {}
        : { Restarting: { status: false, reason: 'Restarted', message: `attempt ${String(attempt)} has started` } }),
      ...(succeeded
        ? { SuccessCriteriaMet: { status: true, reason: 'PodsSucceeded', message: `attempt ${String(attempt)} has succeeded` } }
        : {}),
    },
  );
  const facts: Fact[] = [];
  const events: Step['events'][number][] = [];
  if (ready.status && !wasReady) {
    const seconds = (now.getTime() - Date.parse(job.status.startTime ?? timestamp(now))) / 1000;
    facts.push({ type: 'ready', seconds });
    events.push({ type: 'Normal', reason: 'GangReady', message: `attempt ${String(attempt)}: ${ready.message}` });
  } else if (!ready.status && ready.reason !== conditionOf(job.status, 'GangReady')?.reason && notable.includes(ready.reason)) {
    events.push({ type: 'Warning', reason: ready.reason, message: ready.message });
  }
  // Why there are no pods is told by events, which are not watched.
  const missing = pods.length < count && !current.suspended;
  return view.step(status, { facts, events, ...(missing ? { requeueAfterMs: missingPodsMs } : {}) });
}

const notable = ['QuotaExceeded', 'Unschedulable', 'ClaimNotBound', 'ImagePullFailed', 'ContainerNotCreated'];

/** The children of the attempt as first seen. */
function gangIdentity({ job, pods }: View, current: GangJob): Partial<JobStatus> {
  const known = job.status.gang?.pods ?? [];
  const added = pods
    .filter(({ index }) => Number.isInteger(index) && !known.some((pod) => pod.index === index))
    .map(({ index, metadata }) => ({ index, name: metadata.name, uid: metadata.uid ?? '' }));
  const all = [...known, ...added].sort((a, b) => a.index - b.index);
  return { gang: { jobUid: current.metadata.uid ?? '', ...(all.length === 0 ? {} : { pods: all }) } };
}

/** The attempt has ended without success: try again, or give up. */
function restart(view: View, end: GangEnd): Step {
  const { job, now, attempt } = view;
  const { failurePolicy } = job.spec;
  const { restarts = 0, disruptions = 0 } = job.status;
  if (end.kind === 'final') return fail(view, end);
  const [used, limit] = end.kind === 'failure' ? [restarts, failurePolicy.maxRestarts] : [disruptions, failurePolicy.maxDisruptions];
  if (used >= limit) {
    const field = end.kind === 'failure' ? 'maxRestarts' : 'maxDisruptions';
    return fail(
      view,
      { ...end, reason: end.kind === 'failure' ? 'RestartsExhausted' : 'DisruptionsExhausted' },
      `failurePolicy.${field} is ${String(limit)}; `,
    );
  }
  const waitMs = end.kind === 'failure' ? Math.min(maxBackoffMs, failurePolicy.backoffSeconds * 1000 * 2 ** Math.min(restarts, 16)) : 0;
  const count = end.kind === 'failure' ? { restarts: restarts + 1 } : { disruptions: disruptions + 1 };
  const { restartTime, ...before } = job.status;
  const message = `attempt ${String(attempt)} ended: ${describeEnd(end)}`;
  const next = new View({ ...view.observed, job: { ...job, status: before } });
  const status = next.status(
    {
      ...count,
      phase: 'Restarting',
      attempt: attempt + 1,
      gang: {},
      lastFailure: end.failure,
      ...(waitMs > 0 ? { restartTime: timestamp(new Date(now.getTime() + waitMs)) } : {}),
    },
    {
      Restarting: { status: true, reason: end.reason, message },
      GangReady: { status: false, reason: 'NotStarted', message: 'the last attempt is being deleted' },
      FailureTarget: { status: false, reason: 'Restarting', message: `attempt ${String(attempt + 1)} is next` },
      SuccessCriteriaMet: { status: false, reason: 'Restarting', message: `attempt ${String(attempt + 1)} is next` },
    },
  );
  const gone = view.current === undefined || view.current.metadata.deletionTimestamp !== undefined;
  return view.step(status, {
    remove: gone ? [] : [{ resource: resources.job, object: view.current }],
    events: [{ type: 'Warning', reason: 'Restarting', message }],
    facts: [{ type: 'restarted', reason: end.kind === 'failure' ? 'failure' : 'disruption' }],
    requeueAfterMs: 0,
  });
}

function complete(view: View): Step {
  const { job, pods, now } = view;
  const summary = summaryOf(pods.find(({ index }) => index === 0));
  const { numImages } = job.spec;
  const message = `${String(numImages)} of ${String(numImages)} images are written`;
  const done = { ...job.status.progress, ...summary?.progress, done: '100%', phase: 'done', imagesDone: numImages, time: timestamp(now) };
  const status = view.status(
    { phase: 'Complete', completionTime: timestamp(now), progress: done },
    {
      Complete: { status: true, reason: 'ImagesWritten', message },
      GangReady: { status: false, reason: 'Ended', message: 'the job has ended' },
      SuccessCriteriaMet: { status: true, reason: 'PodsSucceeded', message: `attempt ${String(view.attempt)} has succeeded` },
      Restarting: { status: false, reason: 'Ended', message: 'the job has ended' },
      Reconciling: { status: false, reason: 'Ended', message: 'the job has ended' },
    },
  );
  return view.step(status, {
    events: [{ type: 'Normal', reason: 'Completed', message }],
    facts: [{ type: 'finished', result: 'complete', latencies: summary?.latencies ?? [] }],
    requeueAfterMs: 0,
  });
}

/** The job ends without success, for good. */
function fail(view: View, { reason, failure }: GangEnd, prefix = ''): Step {
  const { attempt, now } = view;
  const message = `${prefix}attempt ${String(attempt)} ended: ${describeFailure(failure)}`.slice(0, 8000);
  const status = view.status(
    { phase: 'Failed', completionTime: timestamp(now), lastFailure: failure },
    {
      Failed: { status: true, reason, message },
      Stalled: { status: true, reason, message },
      Reconciling: { status: false, reason: 'Ended', message: 'the job has ended' },
      Restarting: { status: false, reason: 'Ended', message: 'the job has ended' },
      GangReady: { status: false, reason: 'Ended', message: 'the job has ended' },
      FailureTarget: { status: true, reason, message: `attempt ${String(attempt)} was the last` },
    },
  );
  return view.step(status, {
    events: [{ type: 'Warning', reason: 'Failed', message }],
    facts: [{ type: 'finished', result: 'failed', latencies: [] }],
    requeueAfterMs: 0,
  });
}

/** Holds the job: its gang is deleted, and nothing else happens until it may go on. */
function suspend(view: View): Step {
  const { job, old, current, oldPods } = view;
  const gangs = current === undefined ? old : [...old, current];
  const running = [...oldPods, ...view.pods.filter((pod) => !isEnded(pod) && !isLost(pod, view.now))];
  const remove = gangs
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map((object) => ({ resource: resources.job, object }));
  const idle = gangs.length === 0 && running.length === 0;
  const { startTime, restartTime, ...before } = job.status;
  const next = new View({ ...view.observed, job: { ...job, status: before } });
  const message = idle
    ? 'spec.suspend is true and no pod runs'
    : `spec.suspend is true; ending: ${running.map(({ metadata }) => metadata.name).join(', ')}`;
  const status = next.status(
    { phase: 'Suspended', gang: {}, attempt: view.attempt, restarts: before.restarts ?? 0, disruptions: before.disruptions ?? 0 },
    {
      Complete: { status: false, reason: 'NotEnded', message: 'the images are not all made yet' },
      Failed: { status: false, reason: 'NotEnded', message: 'nothing has ended the job' },
      Suspended: { status: idle, reason: idle ? 'Suspended' : 'Suspending', message },
      GangReady: { status: false, reason: 'NotStarted', message: 'the job is suspended' },
      Restarting: { status: false, reason: 'Suspended', message: 'the job is suspended' },
      Reconciling: { status: !idle, reason: idle ? 'Suspended' : 'Suspending', message },
      Stalled: { status: false, reason: 'Suspended', message: 'the job is suspended' },
    },
  );
  const events = idle ? [{ type: 'Normal', reason: 'Suspended', message } as const] : [];
  return view.step(startTime === undefined && restartTime === undefined ? status : (status ?? before), {
    remove,
    events,
    ...(idle ? {} : { requeueAfterMs: lostPodMs / 3 }),
  });
}

/** The job has ended: what is left of its gang is dealt with, and in time the job itself. */
function afterEnd({ job, gangs, now }: Observed): Step {
  const { status, spec } = job;
  const complete = isTrue(status, 'Complete');
  const removable = gangs.filter((gang) => {
    if (gang.metadata.deletionTimestamp !== undefined) return false;
    const over = complete || holds(gang, 'Failed') || holds(gang, 'FailureTarget');
    return spec.cleanPodPolicy === 'All' || gang.attempt !== status.attempt || !over;
  });
  const remove: Step['remove'][number][] = removable.map((object) => ({ resource: resources.job, object }));
  const ttl = spec.ttlSecondsAfterFinished;
  const view = new View({ job, gangs, pods: [], now });
  const seen = view.step(view.status({}, {}), { remove });
  if (ttl === undefined || status.completionTime === undefined) return seen;
  const leftMs = Date.parse(status.completionTime) + ttl * 1000 - now.getTime();
  if (leftMs > 0) return { ...seen, requeueAfterMs: leftMs };
  return { ...nothing, remove: [{ resource: jobResource, object: job }] };
}

/** How long rank 0 may tell of no progress. A gang that starts makes none until its ranks have met. */
export function stallLimitMs({ spec }: StoredJob): number {
  return Math.max(spec.progressDeadlineSeconds, spec.rendezvousTimeoutSeconds) * 1000 + stallSlackMs;
}

/** Milliseconds until the job's deadline; undefined: it has none. */
function deadlineOf({ job, now }: View): number | undefined {
  const { activeDeadlineSeconds } = job.spec;
  const { startTime } = job.status;
  if (activeDeadlineSeconds === undefined || startTime === undefined) return undefined;
  return Date.parse(startTime) + activeDeadlineSeconds * 1000 - now.getTime();
}

function deadlineExceeded({ job, attempt, now }: View): GangEnd {
  const message = `the job was not complete after activeDeadlineSeconds, ${String(job.spec.activeDeadlineSeconds)}`;
  return { kind: 'final', reason: 'DeadlineExceeded', failure: { attempt, code: 'DeadlineExceeded', message, time: timestamp(now) } };
}

function hung({ job, attempt, now }: View, stalledMs: number): GangEnd {
  const seconds = Math.round(stalledMs / 1000);
  const message = `rank 0 has told of no progress for ${String(seconds)} s, at most ${String(Math.round(stallLimitMs(job) / 1000))} s are allowed`;
  return { kind: 'failure', reason: 'GangHung', failure: { attempt, code: 'GangHung', message, time: timestamp(now) } };
}

function disrupted({ attempt, now }: View, code: string, message: string): GangEnd {
  return { kind: 'disruption', reason: code, failure: { attempt, code, message, time: timestamp(now) } };
}

function describeEnd({ kind, failure }: GangEnd): string {
  return `${describeFailure(failure)}${kind === 'disruption' ? ' (a disruption)' : ''}`.slice(0, 4000);
}

function describeFailure({ code = '', pod, rank, message = '' }: GangEnd['failure']): string {
  const at = [pod ?? '', rank === undefined ? '' : `rank ${String(rank)}`].filter((part) => part !== '').join(', ');
  return `${code}${at === '' ? '' : ` (${at})`}: ${message}`;
}

function describeGang({ spec }: StoredJob): string {
  const pods = podCount(spec);
  const ranks = spec.parallelism.cfgDegree * spec.parallelism.patchDegree;
  return `${String(ranks)} ${ranks === 1 ? 'rank' : 'ranks'} in ${String(pods)} ${pods === 1 ? 'pod' : 'pods'}`;
}

/** Deep equality of JSON, whatever the order of keys. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a, sorted) === JSON.stringify(b, sorted);
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([x], [y]) => (x < y ? -1 : 1)));
}
