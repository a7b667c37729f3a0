/** A gang that is there: what it waits for, and whether it can still succeed. */
import { conditionOf, isTrue, podCount, timestamp, type ConditionChange, type JobCondition, type JobFailure } from '../api/index.js';
import { resources } from '../kube/index.js';
import type { Child } from '../resources/index.js';
import { gangIdentity, waitsFor } from './gang-state.js';
import { askAgainMs, hasBegun, waitsForChildrenMs } from './missing-children.js';
import { holds, type GangJob } from './observed.js';
import { disrupted, hung, restart, stallLimitMs } from './outcome.js';
import { deletionOf, disruptionOf, isDisrupted, isEnded, isLost, judgeGang, lostPodMs, ranksEnd, wasDeleted } from './pod-end.js';
import type { Fact, Step } from './step.js';
import { readyEvent } from './told.js';
import type { View } from './view.js';

/** Pods that are missing are asked after in growing intervals: each time the gang is half as old again. */
const missingPodsMs = { first: 5_000, most: 60_000 };
/** A gang of which a pod failed is judged without its other pods after so long. */
const settleMs = 60_000;
/** Of FailureTarget, where the cluster took a pod away: `lastFailure` says which and why. */
const disruptedReason = 'PodDisrupted';

/** The current attempt's Job is there: see how its pods do. */
export function follow(view: View, current: GangJob): Step {
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
  // Ranks that have ended are silent, also where a sidecar holds their pod.
  const silent = stalledMs > stallLimitMs(job) && pods.some((pod) => ranksEnd(pod) === undefined);
  if (silent) return restart(view, hung(view, stalledMs));
  if (isEnding(view, current)) return ending(view, current);
  // With the Job suspended its pods go, and those without a node at once: nobody need have seen them go.
  const known = gang?.pods ?? [];
  if (current.suspended && known.length > 0 && pods.length === 0) {
    const names = known.map((pod) => pod.name).join(', ');
    return restart(
      view,
      disrupted(view, 'PodDeleted', `Job ${name} was suspended, and not by this operator, and its pods are gone: ${names}`),
    );
  }
  const { missing = [] } = view.observed;
  const step = settle(view, current, attempt, now);
  return missing.length === 0 ? step : remake(view, step, missing);
}

/** Children that were taken away before all pods could mount them are made again as they were. */
function remake(view: View, step: Step, missing: readonly Child[]): Step {
  const names = missing.map(({ resource, object }) => `${resource.kind} ${object.metadata.name}`).join(', ');
  const message = `deleted before all pods had mounted it, and not by this operator: ${names}`;
  // A Secret made by another process may hold another token than the one that its peers have read.
  if (missing.some(({ resource }) => resource === resources.secret) && view.pods.some(hasBegun)) {
    return restart(view, disrupted(view, 'ChildDeleted', message));
  }
  return { ...step, apply: missing, events: [...step.events, { type: 'Warning', reason: 'ChildDeleted', message }] };
}

/** Whether the attempt cannot succeed any more. */
function isEnding({ job, pods }: View, current: GangJob): boolean {
  // What was written down once stays so: pods without a node are gone at once, and with them all that told of it.
  if (isTrue(job.status, 'FailureTarget') || holds(current, 'FailureTarget') || holds(current, 'Failed')) return true;
  return pods.some(
    (pod) =>
      pod.phase === 'Failed' ||
      isDisrupted(pod) ||
      (ranksEnd(pod)?.exitCode ?? 0) !== 0 ||
      (pod.metadata.deletionTimestamp !== undefined && pod.phase !== 'Succeeded'),
  );
}

/** A pod failed or is taken away. The gang is judged when all its pods have ended: the culprit is often not the first to be seen. */
function ending(view: View, current: GangJob): Step {
  const { job, pods, now, attempt } = view;
  const open = pods.filter((pod) => !isEnded(pod) && !isLost(pod, now));
  const since = conditionOf(view.job.status, 'FailureTarget');
  const sinceMs = since?.status === 'True' ? now.getTime() - Date.parse(since.lastTransitionTime) : 0;
  const known = since?.status === 'True' && since.reason === disruptedReason ? job.status.lastFailure : undefined;
  if (open.length === 0 || sinceMs > settleMs) return restart(view, judgeGang(attempt, pods, podCount(job.spec), now, known));
  // Written down at once: an evicted pod may be gone before its peers have ended, and with it why.
  const taken = known ?? takenAway(view, current);
  const names = open.map(({ metadata }) => metadata.name).join(', ');
  const reason = taken === undefined ? 'PodEnded' : disruptedReason;
  const status = view.status(
    { ...gangIdentity(view), ...(taken === undefined ? {} : { lastFailure: taken }) },
    {
      GangReady: { status: false, reason: 'Ended', message: 'a pod of the gang has ended' },
      FailureTarget: { status: true, reason, message: `attempt ${String(attempt)} cannot succeed` },
      ...view.unforeseen('PodEnded', `attempt ${String(attempt)} cannot succeed`, ['SuccessCriteriaMet']),
    },
  );
  return view.step(status, {
    requeueAfterMs: lostPodMs / 3,
    events: [{ type: 'Normal', reason: 'GangEnding', message: `waiting for ${names} to end` }],
  });
}

/** What is known of the pod that the cluster, or somebody, took away. */
function takenAway({ pods, now, attempt }: View, current: GangJob): JobFailure | undefined {
  const disrupted = pods.find(isDisrupted);
  if (disrupted !== undefined) return disruptionOf(attempt, disrupted, now);
  // The Job controller deletes pods once another has failed.
  if (holds(current, 'FailureTarget') || holds(current, 'Failed') || pods.some(({ phase }) => phase === 'Failed')) return undefined;
  const deleted = pods.find(wasDeleted);
  return deleted === undefined ? undefined : deletionOf(attempt, deleted, now);
}

/** Nothing has ended: tell what the gang waits for. */
function settle(view: View, current: GangJob, attempt: number, now: Date): Step {
  const { job, pods } = view;
  const count = podCount(job.spec);
  const waiting = waitsFor(current, pods, count, {
    podsRefused: view.observed.podsRefused,
    queued: job.spec.scheduling?.queueName !== undefined,
    now,
  });
  const wasReady = isTrue(job.status, 'GangReady');
  const succeeded = holds(current, 'SuccessCriteriaMet') || pods.some(({ phase }) => phase === 'Succeeded');
  const restarts = (job.status.restarts ?? 0) + (job.status.disruptions ?? 0);
  const ready: ConditionChange = succeeded
    ? { status: false, reason: 'Ended', message: 'pods have ended with success' }
    : waiting === undefined
      ? { status: true, reason: 'PodsReady', message: `${String(count)} of ${String(count)} pods are ready` }
      : { status: false, reason: waiting.reason, message: waiting.message };
  const status = view.status(
    { ...gangIdentity(view), phase: ready.status || job.status.phase === 'Running' || succeeded ? 'Running' : 'Starting' },
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
    events.push(readyEvent(attempt, ready.message));
  } else if (!ready.status && waiting?.warns === true && isNews(ready, conditionOf(job.status, 'GangReady'))) {
    events.push({ type: 'Warning', reason: ready.reason, message: ready.message });
  }
  // Why there are no pods is told by events, which are not watched.
  const missing = pods.length < count && !current.suspended;
  const ageMs = now.getTime() - Date.parse(current.metadata.creationTimestamp ?? now.toISOString());
  const podsAgainMs = Math.min(missingPodsMs.most, Math.max(missingPodsMs.first, ageMs / 2));
  const mountingMs = waitsForChildrenMs(job, pods, now);
  const rechecks = [
    missing ? podsAgainMs : undefined,
    waiting?.recheckAfterMs,
    mountingMs === undefined ? undefined : askAgainMs(mountingMs),
  ];
  const requeueAfterMs = Math.min(...rechecks.filter((ms) => ms !== undefined));
  return view.step(status, { facts, events, ...(requeueAfterMs === Infinity ? {} : { requeueAfterMs }) });
}

/** Of one reason it is told once, whatever its message counts; pods that are not created yet have the reason of those that are refused. */
function isNews({ reason, message }: ConditionChange, before: JobCondition | undefined): boolean {
  return reason !== before?.reason || (reason === 'PodsNotCreated' && message !== before.message);
}
