/** Events of a job. One that was told before is not told again: its name is made of what it says. */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { jobResource, managedByName, type StoredJob } from '../api/index.js';
import { ApiError, apiVersionOf, resources, type ApiClient } from '../kube/index.js';
import type { EventDraft } from './step.js';

const maxNoteLength = 1000;

export async function tell(client: ApiClient, job: StoredJob, { type, reason, message }: EventDraft, signal: AbortSignal): Promise<void> {
  const { name, namespace, uid } = job.metadata;
  const digest = createHash('sha256')
    .update(JSON.stringify([uid, job.status.attempt, reason, message]))
    .digest('hex')
    .slice(0, 16);
  const event = {
    metadata: { name: `${name}.${digest}`, namespace },
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
    await client.create(resources.event, event, signal);
  } catch (error) {
    if (!(error instanceof ApiError && error.isConflict)) throw error;
  }
}
