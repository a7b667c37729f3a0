/** How an attempt ends: the job is complete, or is tried again, or has failed for good. */
import { imageCount } from '../../crds/index.js';
import { timestamp, type StoredJob } from '../api/index.js';
import { resources } from '../kube/index.js';
import { gangIdentity } from './gang-state.js';
import type { GangEnd } from './pod-end.js';
import type { Step } from './step.js';
import { summaryOf } from './summary.js';
import { View } from './view.js';

const maxBackoffMs = 300_000;
/** The runtime's own watchdog comes first: this one is for launchers that hang themselves. */
const stallSlackMs = 60_000;

/** The attempt has ended without success: try again, or give up. */
export function restart(view: View, end: GangEnd): Step {
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
  // Left out, not empty: server-side apply makes null of an object that loses all its fields.
  const { restartTime, gang, ...before } = job.status;
  const message = `attempt ${String(attempt)} ended: ${describeEnd(end)}`;
  const next = new View({ ...view.observed, job: { ...job, status: before } });
  const status = next.status(
    {
      ...count,
      phase: 'Restarting',
      attempt: attempt + 1,
      lastFailure: end.failure,
      ...(waitMs > 0 ? { restartTime: timestamp(new Date(now.getTime() + waitMs)) } : {}),
    },
    {
      Restarting: { status: true, reason: end.reason, message },
      Reconciling: { status: true, reason: 'Progressing', message: `attempt ${String(attempt + 1)} is under way` },
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

export function complete(view: View): Step {
  const { job, pods, now } = view;
  const summary = summaryOf(pods.find(({ index }) => index === 0));
  const numImages = imageCount(job.spec);
  const message = `${String(numImages)} of ${String(numImages)} images are written`;
  const { prompts, numInferenceSteps } = job.spec;
  const step = prompts?.at(-1)?.numInferenceSteps ?? numInferenceSteps;
  const done = {
    ...job.status.progress,
    ...summary?.progress,
    done: '100%',
    phase: 'done',
    imagesDone: numImages,
    step,
    time: timestamp(now),
  };
  const status = view.status(
    // Another operator may have been the one to see its pods.
    { ...gangIdentity(view), phase: 'Complete', completionTime: timestamp(now), progress: done },
    {
      Complete: { status: true, reason: 'ImagesWritten', message },
      GangReady: { status: false, reason: 'Ended', message: 'the job has ended' },
      SuccessCriteriaMet: { status: true, reason: 'PodsSucceeded', message: `attempt ${String(view.attempt)} has succeeded` },
      Restarting: { status: false, reason: 'Ended', message: 'the job has ended' },
      Reconciling: { status: false, reason: 'Ended', message: 'the job has ended' },
      ...view.unforeseen('Ended', 'the job is complete', ['FailureTarget']),
    },
  );
  return view.step(status, {
    events: [{ type: 'Normal', reason: 'Completed', message }],
    facts: [{ type: 'finished', result: 'complete', latencies: summary?.latencies ?? [] }],
    requeueAfterMs: 0,
  });
}

/** The job ends without success, for good. */
export function fail(view: View, { reason, failure }: GangEnd, prefix = ''): Step {
  const { attempt, now, job } = view;
  const message = `${prefix}attempt ${String(attempt)} ended: ${describeFailure(failure)}`.slice(0, 8000);
  const status = view.status(
    { ...(job.status.gang === undefined ? gangIdentity(view) : {}), phase: 'Failed', completionTime: timestamp(now), lastFailure: failure },
    {
      Failed: { status: true, reason, message },
      Stalled: { status: true, reason, message },
      Reconciling: { status: false, reason: 'Ended', message: 'the job has ended' },
      Restarting: { status: false, reason: 'Ended', message: 'the job has ended' },
      GangReady: { status: false, reason: 'Ended', message: 'the job has ended' },
      FailureTarget: { status: true, reason, message: `attempt ${String(attempt)} was the last` },
      ...view.unforeseen('Ended', 'the job has failed', ['SuccessCriteriaMet']),
    },
  );
  return view.step(status, {
    events: [{ type: 'Warning', reason: 'Failed', message }],
    facts: [{ type: 'finished', result: 'failed', latencies: [] }],
    requeueAfterMs: 0,
  });
}

/** How long rank 0 may tell of no progress. A gang that starts makes none until its ranks have met. */
export function stallLimitMs({ spec }: StoredJob): number {
  return Math.max(spec.progressDeadlineSeconds, spec.rendezvousTimeoutSeconds) * 1000 + stallSlackMs;
}

export function deadlineExceeded({ job, attempt, now }: View): GangEnd {
  const message = `the job was not complete after activeDeadlineSeconds, ${String(job.spec.activeDeadlineSeconds)}`;
  return { kind: 'final', reason: 'DeadlineExceeded', failure: { attempt, code: 'DeadlineExceeded', message, time: timestamp(now) } };
}

export function hung({ job, attempt, now }: View, stalledMs: number): GangEnd {
  const seconds = Math.round(stalledMs / 1000);
  const message = `rank 0 has told of no progress for ${String(seconds)} s, at most ${String(Math.round(stallLimitMs(job) / 1000))} s are allowed`;
  return { kind: 'failure', reason: 'GangHung', failure: { attempt, code: 'GangHung', message, time: timestamp(now) } };
}

export function disrupted({ attempt, now }: View, code: string, message: string): GangEnd {
  return { kind: 'disruption', reason: code, failure: { attempt, code, message, time: timestamp(now) } };
}

function describeEnd({ kind, failure }: GangEnd): string {
  return `${describeFailure(failure)}${kind === 'disruption' ? ' (a disruption)' : ''}`.slice(0, 4000);
}

function describeFailure({ code = '', pod, rank, message = '' }: GangEnd['failure']): string {
  const at = [pod ?? '', rank === undefined ? '' : `rank ${String(rank)}`].filter((part) => part !== '').join(', ');
  return `${code}${at === '' ? '' : ` (${at})`}: ${message}`;
}
