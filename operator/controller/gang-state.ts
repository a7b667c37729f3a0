/** Who a gang is, and what it is waiting for where it has not ended, in one reason and one sentence. */
import type { ConditionChange, JobStatus } from '../api/index.js';
import { mountingMs, patienceMs } from './missing-children.js';
import { holds, type GangJob, type GangPod } from './observed.js';
import { isEnded, ranksEnd } from './pod-end.js';
import type { View } from './view.js';

const pullReasons = ['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'RegistryUnavailable'];
const createReasons = ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError'];

/** A volume that is made on demand takes some seconds, which is no reason to warn anybody. */
const claimBindsMs = 15_000;
const scheduledMs = 15_000;
/** The Job controller makes pods as soon as it sees their Job. */
const podsCreatedMs = 5_000;
/** A sidecar that knows its trade ends with the ranks, within a pod's usual grace period. */
const sidecarEndsMs = 35_000;

export interface Waiting extends Pick<ConditionChange, 'reason' | 'message'> {
  /** When to look again without being told of a change. */
  readonly recheckAfterMs?: number;
  /** It will not pass by itself: whoever made the job is told. */
  readonly warns?: boolean;
}

/** Undefined: every pod runs and is ready. */
export function waitsFor(
  gang: GangJob,
  pods: readonly GangPod[],
  count: number,
  { podsRefused, queued, now }: { readonly podsRefused: string | undefined; readonly queued: boolean; readonly now: Date },
): Waiting | undefined {
  if (gang.suspended) {
    const until = queued ? ' until its queue admits it' : ', and not by this operator: it goes on once its spec.suspend is false';
    return { reason: 'WaitingForQueue', message: `Job ${gang.metadata.name} is suspended${until}` };
  }
  if (pods.length < count && podsRefused !== undefined) {
    // Each try has a pod name of its own, and would be another message.
    const message = podsRefused.replaceAll(new RegExp(`"${gang.metadata.name}-\\d+-[a-z0-9]*"`, 'gu'), `"${gang.metadata.name}"`);
    return { reason: message.includes('exceeded quota') ? 'QuotaExceeded' : 'PodsNotCreated', message, warns: true };
  }
  const ready = pods.filter((pod) => holds(pod, 'Ready')).length;
  if (ready === count) return undefined;
  const told = `${String(ready)} of ${String(count)} pods are ready`;
  for (const state of [unheeded, unscheduled, pulling, creating, outlived]) {
    for (const pod of pods) {
      const waiting = state(pod, now);
      if (waiting !== undefined) return { ...waiting, message: `${told}; ${pod.metadata.name}: ${waiting.message}`.slice(0, 4000) };
    }
  }
  if (pods.length < count) {
    const createdInMs = podsCreatedMs - (now.getTime() - Date.parse(gang.metadata.creationTimestamp ?? now.toISOString()));
    const message = `${String(pods.length)} of ${String(count)} pods are created`;
    return createdInMs > 0 ? { reason: 'Starting', message, recheckAfterMs: createdInMs } : { reason: 'PodsNotCreated', message };
  }
  const mounting = pods.find((pod) => (mountingMs(pod, now) ?? 0) > patienceMs);
  if (mounting !== undefined) {
    return { reason: 'Starting', message: `${told}; ${mounting.metadata.name}: its volumes are mounted or its image is pulled` };
  }
  const initializing = pods.some(({ containers }) => containers.some(({ init, terminated }) => init && terminated === undefined));
  return initializing
    ? { reason: 'Initializing', message: `${told}; models are fetched or engines built` }
    : { reason: 'Starting', message: told };
}

function unscheduled(pod: GangPod, now: Date): Waiting | undefined {
  const condition = pod.conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  if (condition === undefined) return undefined;
  const { message = 'it is not scheduled', lastTransitionTime = '' } = condition;
  if (!/persistentvolumeclaim|unbound/iu.test(message)) return { reason: 'Unschedulable', message, warns: true };
  const bindsInMs = claimBindsMs - (now.getTime() - Date.parse(lastTransitionTime));
  return bindsInMs > 0 && /unbound/iu.test(message)
    ? { reason: 'Starting', message, recheckAfterMs: bindsInMs }
    : { reason: 'ClaimNotBound', message, warns: true };
}

/** A scheduler has a word on each of its pods within seconds. */
function unheeded({ node, phase, conditions, metadata }: GangPod, now: Date): Waiting | undefined {
  if (node !== undefined || phase !== 'Pending' || conditions.some(({ type }) => type === 'PodScheduled')) return undefined;
  const message =
    'no scheduler has said anything of it: does the one of scheduling.schedulerName run, and is the ResourceClaimTemplate there?';
  const wordInMs = scheduledMs - (now.getTime() - Date.parse(metadata.creationTimestamp ?? now.toISOString()));
  return wordInMs > 0
    ? { reason: 'Starting', message: 'it waits for a scheduler', recheckAfterMs: wordInMs }
    : { reason: 'Unschedulable', message, warns: true };
}

function pulling({ containers }: GangPod): Waiting | undefined {
  return waitingWith(containers, pullReasons, 'ImagePullFailed');
}

function creating({ containers }: GangPod): Waiting | undefined {
  return waitingWith(containers, createReasons, 'ContainerNotCreated');
}

/** With restartPolicy Never a container that somebody put beside the ranks holds the pod, and so the Job, until it ends too. */
function outlived(pod: GangPod, now: Date): Waiting | undefined {
  const end = ranksEnd(pod);
  if (end === undefined || isEnded(pod)) return undefined;
  const running = pod.containers.filter(({ waiting, terminated }) => waiting === undefined && terminated === undefined);
  const endsInMs = sidecarEndsMs - (now.getTime() - Date.parse(end.finishedAt ?? now.toISOString()));
  const message = `its ranks have ended with code ${String(end.exitCode)}, and it waits for others to end: ${running.map(({ name }) => name).join(', ')}`;
  return endsInMs > 0 ? { reason: 'Ended', message, recheckAfterMs: endsInMs } : { reason: 'SidecarRunning', message, warns: true };
}

function waitingWith(containers: GangPod['containers'], reasons: readonly string[], reason: string): Waiting | undefined {
  const found = containers.find(({ waiting }) => waiting !== undefined && reasons.includes(waiting.reason))?.waiting;
  return found === undefined ? undefined : { reason, message: `${found.reason}: ${found.message}`, warns: true };
}

/** The children of the attempt as first seen; nothing where its Job is gone. */
export function gangIdentity({ job, pods, current }: View): Partial<JobStatus> {
  if (current === undefined) return {};
  const known = job.status.gang?.pods ?? [];
  const added = pods
    .filter(({ index }) => Number.isInteger(index) && !known.some((pod) => pod.index === index))
    .map(({ index, metadata }) => ({ index, name: metadata.name, uid: metadata.uid ?? '' }));
  const all = [...known, ...added].sort((a, b) => a.index - b.index);
  return { gang: { jobUid: current.metadata.uid ?? '', ...(all.length === 0 ? {} : { pods: all }) } };
}
