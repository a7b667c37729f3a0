/**
 * From what was read to what is to be done: a pure function. It never looks at an event, only at the state; called again on the state its step
 * leads to, it decides on the step after, and on a settled state it decides on nothing.
 *
 * The life of a job: begin (an attempt is chosen and written down) → its children are applied → its pods run → the gang ends → the job is complete,
 * or has failed for good, or a restart is written down, the old gang is deleted, and the next attempt's children are applied once its pods are gone.
 * Counters are written before anything is deleted, so that a failure is counted once whenever this process ends.
 */
import { isFinished, isTrue, managedByName, type StoredJob } from '../api/index.js';
import type { Settings } from '../resources/index.js';
import { begin, start } from './begin.js';
import { follow } from './follow.js';
import { holds, type Observed } from './observed.js';
import { complete, deadlineExceeded, fail } from './outcome.js';
import { afterEnd, leave, suspend } from './standstill.js';
import { nothing, type Step } from './step.js';
import { View } from './view.js';

export function decide(observed: Observed, settings: Settings): Step {
  const { job } = observed;
  if (!isManaged(job)) return nothing;
  if (job.metadata.deletionTimestamp !== undefined) return leave(observed);
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

/** The job is not another controller's. */
export function isManaged({ spec }: StoredJob): boolean {
  return spec.managedBy === undefined || spec.managedBy === managedByName;
}

/** Milliseconds until the job's deadline; undefined: it has none. */
function deadlineOf({ job, now }: View): number | undefined {
  const { activeDeadlineSeconds } = job.spec;
  const { startTime } = job.status;
  if (activeDeadlineSeconds === undefined || startTime === undefined) return undefined;
  return Date.parse(startTime) + activeDeadlineSeconds * 1000 - now.getTime();
}
