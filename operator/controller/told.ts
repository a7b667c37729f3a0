/** Events that a status tells of by itself: an operator that ends between the write of a status and its event leaves the event to the next one. */
import { conditionOf, podCount, rankCount, type ConditionType, type StoredJob } from '../api/index.js';
import type { EventDraft } from './step.js';

export function startedEvent({ spec }: StoredJob, attempt: number): EventDraft {
  const [pods, ranks] = [podCount(spec), rankCount(spec)];
  const gang = `${String(ranks)} ${ranks === 1 ? 'rank' : 'ranks'} in ${String(pods)} ${pods === 1 ? 'pod' : 'pods'}`;
  return { type: 'Normal', reason: 'Started', message: `attempt ${String(attempt)}: ${gang}` };
}

export function resumedEvent(attempt: number): EventDraft {
  return { type: 'Normal', reason: 'Resumed', message: `resumed with attempt ${String(attempt)}` };
}

export function readyEvent(attempt: number, message: string): EventDraft {
  return { type: 'Normal', reason: 'GangReady', message: `attempt ${String(attempt)}: ${message}` };
}

/** Conditions whose message is the event's. */
const ends: readonly (readonly [ConditionType, EventDraft['type'], reason: string])[] = [
  ['Restarting', 'Warning', 'Restarting'],
  ['Complete', 'Normal', 'Completed'],
  ['Failed', 'Warning', 'Failed'],
  ['Suspended', 'Normal', 'Suspended'],
];

/** What has happened to the job since then, oldest first, as far as its status still says so. */
export function toldBy(job: StoredJob, since: Date): readonly EventDraft[] {
  const { status } = job;
  const { attempt = 0, startTime } = status;
  const message = (type: ConditionType): string | undefined => {
    const condition = conditionOf(status, type);
    return condition?.status === 'True' && Date.parse(condition.lastTransitionTime) >= since.getTime() ? condition.message : undefined;
  };
  const drafts: EventDraft[] = [];
  if (startTime !== undefined && Date.parse(startTime) >= since.getTime()) {
    if (attempt === 1) drafts.push(startedEvent(job, attempt));
    else if (conditionOf(status, 'Restarting')?.reason === 'Resumed') drafts.push(resumedEvent(attempt));
  }
  const ready = message('GangReady');
  if (ready !== undefined) drafts.push(readyEvent(attempt, ready));
  for (const [condition, type, reason] of ends) {
    const text = message(condition);
    if (text !== undefined) drafts.push({ type, reason, message: text });
  }
  return drafts;
}
