/** Conditions of a job, as of metav1.Condition: each type once, its transition time kept while its status stays. */
import type { JobCondition, JobStatus } from './sdxl-job.js';

export const conditionTypes = [
  'Complete',
  'Failed',
  'Suspended',
  'GangReady',
  'Restarting',
  'SuccessCriteriaMet',
  'FailureTarget',
  'Reconciling',
  'Stalled',
] as const;
export type ConditionType = (typeof conditionTypes)[number];

export interface ConditionChange {
  readonly status: boolean;
  /** One CamelCase word. */
  readonly reason: string;
  readonly message: string;
}

export function conditionOf(status: JobStatus, type: ConditionType): JobCondition | undefined {
  return status.conditions?.find((condition) => condition.type === type);
}

export function isTrue(status: JobStatus, type: ConditionType): boolean {
  return conditionOf(status, type)?.status === 'True';
}

/** Whether the job has ended for good. */
export function isFinished(status: JobStatus): boolean {
  return isTrue(status, 'Complete') || isTrue(status, 'Failed');
}

/** The status with these conditions changed, and `observedGeneration` set in all of them. */
export function withConditions(
  status: JobStatus,
  changes: Readonly<Partial<Record<ConditionType, ConditionChange>>>,
  generation: number,
  now: Date,
): JobStatus {
  const conditions = conditionTypes.flatMap((type): JobCondition[] => {
    const before = conditionOf(status, type);
    const change = changes[type];
    if (change === undefined) return before === undefined ? [] : [{ ...before, observedGeneration: generation }];
    const next = change.status ? 'True' : 'False';
    return [
      {
        type,
        status: next,
        observedGeneration: generation,
        lastTransitionTime: before?.status === next ? before.lastTransitionTime : timestamp(now),
        reason: change.reason,
        message: change.message,
      },
    ];
  });
  return { ...status, observedGeneration: generation, conditions };
}

/** metav1.Time: whole seconds. */
export function timestamp(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
