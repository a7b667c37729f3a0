/** Jobs that stand still: suspended ones, those that have ended, and those that are being deleted. */
import { isFinished, isTrue, jobResource } from '../api/index.js';
import { resources } from '../kube/index.js';
import { holds, type Observed } from './observed.js';
import { isEnded, isHeld, isLost, lostPodMs } from './pod-end.js';
import { nothing, type Step } from './step.js';
import { View } from './view.js';

/** Holds the job: its gang is deleted, and nothing else happens until it may go on. */
export function suspend(view: View): Step {
  const { job, old, current, oldPods } = view;
  const gangs = current === undefined || isHeld(current, view.now) ? old : [...old, current];
  const running = [...oldPods, ...view.pods.filter((pod) => !isEnded(pod) && !isLost(pod, view.now))];
  const remove = gangs
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map((object) => ({ resource: resources.job, object }));
  const idle = gangs.length === 0 && running.length === 0;
  const { startTime, restartTime, gang, ...before } = job.status;
  const next = new View({ ...view.observed, job: { ...job, status: before } });
  const message = idle
    ? 'spec.suspend is true and no pod runs'
    : `spec.suspend is true; ending: ${running.map(({ metadata }) => metadata.name).join(', ')}`;
  const status = next.status(
    { phase: 'Suspended', attempt: view.attempt, restarts: before.restarts ?? 0, disruptions: before.disruptions ?? 0 },
    {
      Complete: { status: false, reason: 'NotEnded', message: 'the images are not all made yet' },
      Failed: { status: false, reason: 'NotEnded', message: 'nothing has ended the job' },
      Suspended: { status: idle, reason: idle ? 'Suspended' : 'Suspending', message },
      GangReady: { status: false, reason: 'NotStarted', message: 'the job is suspended' },
      Restarting: { status: false, reason: 'Suspended', message: 'the job is suspended' },
      Reconciling: { status: !idle, reason: idle ? 'Suspended' : 'Suspending', message },
      Stalled: { status: false, reason: 'Suspended', message: 'the job is suspended' },
      ...view.unforeseen('Suspended', 'the job is suspended'),
    },
  );
  const events = idle ? [{ type: 'Normal', reason: 'Suspended', message } as const] : [];
  const kept = startTime === undefined && restartTime === undefined && gang === undefined;
  return view.step(kept ? status : (status ?? before), {
    remove,
    events,
    ...(idle ? {} : { requeueAfterMs: lostPodMs / 3 }),
  });
}

/** The job has ended: what is left of its gang is dealt with, and in time the job itself. */
export function afterEnd({ job, gangs, pods, now }: Observed): Step {
  const { status, spec } = job;
  const complete = isTrue(status, 'Complete');
  const removable = gangs.filter((gang) => {
    if (gang.metadata.deletionTimestamp !== undefined) return false;
    const its = pods.filter(({ jobUid }) => jobUid === gang.metadata.uid);
    // Pods may have ended before their Job tells of it: they stay, with their logs.
    const ended = its.length > 0 && its.every(isEnded);
    const over = complete || ended || holds(gang, 'Failed') || holds(gang, 'FailureTarget');
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

/** The job is being deleted: whatever holds it meanwhile, a finalizer for example, its gang holds no devices, and nobody takes it for one that runs. */
export function leave(observed: Observed): Step {
  const { job, gangs } = observed;
  const { finalizers = [] } = job.metadata;
  // Of kubectl delete --cascade=orphan, until the children have no owner any more: whoever asks for that wants them to stay.
  if (finalizers.includes('orphan')) return nothing;
  const left = gangs.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const remove = left.map((object) => ({ resource: resources.job, object }));
  // Its devices come before what is said of it, which a CRD of an earlier version refuses.
  if (left.length > 0 || isFinished(job.status)) return { ...nothing, remove };
  const view = new View(observed);
  const message = `the job is being deleted${finalizers.length === 0 ? '' : `, and held by finalizers: ${finalizers.join(', ')}`}`;
  const status = view.status({ phase: 'Terminating' }, { GangReady: { status: false, reason: 'Terminating', message } });
  return view.step(status);
}
