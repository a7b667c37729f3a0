/** From no gang to a gang: the next attempt is chosen, and its children are applied once nothing of an earlier one is in the way. */
import { attemptName, timestamp } from '../api/index.js';
import { resources } from '../kube/index.js';
import { attemptChildren, type Settings } from '../resources/index.js';
import { disrupted, restart } from './outcome.js';
import { lostPodMs } from './pod-end.js';
import type { Step } from './step.js';
import { resumedEvent, startedEvent } from './told.js';
import type { View } from './view.js';

/** Chooses the next attempt and writes it down; its children are applied in the same step if nothing of an old attempt is in the way. */
export function begin(view: View, settings: Settings): Step {
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
    },
    {
      Complete: { status: false, reason: 'NotEnded', message: 'the images are not all made yet' },
      Failed: { status: false, reason: 'NotEnded', message: 'nothing has ended the job' },
      Suspended: { status: false, reason: resumed ? 'Resumed' : 'NotSuspended', message: 'the job may run' },
      GangReady: { status: false, reason: 'NotStarted', message: 'the pods are not created yet' },
      Restarting: resumed
        ? { status: false, reason: 'Resumed', message: `attempt ${String(attempt)} goes on where the job was suspended` }
        : { status: false, reason: 'FirstAttempt', message: 'no attempt has failed' },
      Reconciling: { status: true, reason: 'Progressing', message: `attempt ${String(attempt)} is under way` },
      Stalled: { status: false, reason: 'Progressing', message: 'nothing is in the way' },
    },
  );
  const clear = view.old.length === 0 && view.oldPods.length === 0 && view.current === undefined;
  const event = resumed ? resumedEvent(attempt) : startedEvent(job, attempt);
  return view.step(status, { apply: clear ? attemptChildren(job, attempt, settings, now) : [], events: [event] });
}

/** No Job of the current attempt: apply it as soon as nothing is in the way, or find that it was taken away. */
export function start(view: View, settings: Settings): Step {
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
  return view.step(view.status({}, {}), { apply: attemptChildren(job, attempt, settings, now) });
}
