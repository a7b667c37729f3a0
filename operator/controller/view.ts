/** What was read of a job, sorted by attempt, and the forms in which decisions are told. */
import {
  isFinished,
  isTrue,
  withConditions,
  type ConditionChange,
  type ConditionType,
  type JobStatus,
  type StoredJob,
} from '../api/index.js';
import type { GangJob, GangPod, Observed } from './observed.js';
import { isEnded, isHeld, isLost } from './pod-end.js';
import { nothing, type Step } from './step.js';

/** What was read, sorted by attempt. */
export class View {
  readonly job: StoredJob;
  readonly now: Date;
  readonly attempt: number;
  /** The current attempt's Job. */
  readonly current: GangJob | undefined;
  /** Jobs of other attempts, but those that are gone for all that matters. */
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
    this.old = gangs.filter((gang) => gang !== this.current && !isHeld(gang, now));
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

  /** What was foreseen of an end that is over, or did not come, holds no more; nothing where nothing was foreseen. */
  unforeseen(
    reason: string,
    message: string,
    types: readonly ('SuccessCriteriaMet' | 'FailureTarget')[] = ['SuccessCriteriaMet', 'FailureTarget'],
  ): Readonly<Partial<Record<ConditionType, ConditionChange>>> {
    return Object.fromEntries(
      types.filter((type) => isTrue(this.job.status, type)).map((type) => [type, { status: false, reason, message }]),
    );
  }

  step(status: JobStatus | undefined, rest: Partial<Step> = {}): Step {
    const { events = [], facts = [], ...others } = rest;
    // What is told happened with the change of the status: without a change it was told before.
    return status === undefined ? { ...nothing, ...others } : { ...nothing, ...others, status, events, facts };
  }
}

/** Deep equality of JSON, whatever the order of keys. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a, sorted) === JSON.stringify(b, sorted);
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([x], [y]) => (x < y ? -1 : 1)));
}
