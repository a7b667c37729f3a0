/** Events of a job. One that was told before is not told again: its name is made of what it says, and of its place in a job's life. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { jobResource, managedByName, type StoredJob } from '../api/index.js';
import { ApiError, apiVersionOf, resources, type ApiClient } from '../kube/index.js';
import type { EventDraft } from './step.js';

const maxNoteLength = 1000;

/** kubectl describe shows them by name, for their times are not those it sorts by. What a gang waits for is between its start and its readiness. */
const beforeWaiting = ['Restarting', 'Started', 'Resumed'];
const afterWaiting = ['GangReady', 'GangEnding', 'Completed', 'Failed', 'Suspended'];

function placeOf({ status }: StoredJob, reason: string): string {
  const [first, last] = [beforeWaiting.indexOf(reason), afterWaiting.indexOf(reason)];
  const place = first >= 0 ? first : beforeWaiting.length + last + 1;
  return (status.attempt ?? 0).toString(16).padStart(4, '0') + place.toString(16);
}

/** @param dryRun nothing is told: the server says whether it would be */
export async function tell(
  client: ApiClient,
  job: StoredJob,
  { type, reason, message }: EventDraft,
  signal: AbortSignal,
  dryRun = false,
): Promise<void> {
  const { name, namespace, uid } = job.metadata;
  const digest = createHash('sha256')
    .update(JSON.stringify([uid, job.status.attempt, reason, message]))
    .digest('hex')
    .slice(0, 12);
  const event = {
    metadata: { name: `${name}.${placeOf(job, reason)}${digest}`, namespace },
    eventTime: client.clock.now().toISOString().replace('Z', '000Z'), // MicroTime
    type,
    reason,
    action: 'Reconcile',
    note: message.slice(0, maxNoteLength),
    regarding: { apiVersion: apiVersionOf(jobResource), kind: jobResource.kind, name, namespace, uid },
    reportingController: managedByName,
    reportingInstance: hostname(),
  };
  try {
    await client.create(resources.event, event, signal, dryRun);
  } catch (error) {
    if (!(error instanceof ApiError && error.isConflict)) throw error;
  }
}
