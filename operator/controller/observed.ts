/** What is read of a job's children: projections of Job and Pod, so that caches hold what decisions need and no more. */
import { completionIndexLabel, controllerUidLabel, labelNames, type StoredJob } from '../api/index.js';
import type { Condition, KubeObject, ObjectMeta } from '../kube/index.js';
import type { Child } from '../resources/index.js';

/** All that a decision depends on. */
export interface Observed {
  readonly job: StoredJob;
  /** Jobs of every attempt that are still there. */
  readonly gangs: readonly GangJob[];
  readonly pods: readonly GangPod[];
  readonly now: Date;
  /** How long rank 0 has told of no progress, as far as this process has listened; undefined: it does not listen yet. */
  readonly stalledMs?: number | undefined;
  /** Why the Job controller makes no pods, where it was asked. */
  readonly podsRefused?: string | undefined;
  /** Children of the current attempt that its pods wait for and that are not there. */
  readonly missing?: readonly Child[];
}

export interface GangJob {
  readonly metadata: ObjectMeta;
  readonly attempt: number;
  readonly suspended: boolean;
  readonly conditions: readonly Condition[];
}

export interface GangPod {
  readonly metadata: ObjectMeta;
  readonly jobUid: string;
  readonly attempt: number;
  readonly index: number;
  readonly phase: string;
  readonly ip: string | undefined;
  readonly node: string | undefined;
  readonly conditions: readonly Condition[];
  /** Of the pod as a whole, such as Evicted. */
  readonly reason: string | undefined;
  readonly message: string | undefined;
  readonly containers: readonly ContainerState[];
}

export interface ContainerState {
  readonly name: string;
  readonly init: boolean;
  readonly ready: boolean;
  readonly waiting?: { readonly reason: string; readonly message: string };
  readonly terminated?: {
    readonly exitCode: number;
    readonly reason: string;
    readonly message: string;
    readonly finishedAt: string | undefined;
  };
}

interface RawJob extends KubeObject {
  readonly spec?: { readonly suspend?: boolean };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

interface RawContainerStatus {
  readonly name: string;
  readonly ready?: boolean;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: { readonly exitCode: number; readonly reason?: string; readonly message?: string; readonly finishedAt?: string };
  };
}

interface RawPod extends KubeObject {
  readonly spec?: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly conditions?: readonly Condition[];
    readonly initContainerStatuses?: readonly RawContainerStatus[];
    readonly containerStatuses?: readonly RawContainerStatus[];
  };
}

export function gangJob(object: KubeObject): GangJob {
  const { metadata, spec, status } = object as RawJob;
  return {
    metadata: keptMetadata(metadata),
    attempt: Number(metadata.labels?.[labelNames.attempt]),
    suspended: spec?.suspend === true,
    conditions: keptConditions(status?.conditions),
  };
}

export function gangPod(object: KubeObject): GangPod {
  const { metadata, spec, status } = object as RawPod;
  const { labels = {} } = metadata;
  return {
    metadata: keptMetadata(metadata),
    jobUid: labels[controllerUidLabel] ?? '',
    attempt: Number(labels[labelNames.attempt]),
    index: Number(labels[completionIndexLabel]),
    phase: status?.phase ?? 'Pending',
    ip: status?.podIP,
    node: spec?.nodeName,
    conditions: keptConditions(status?.conditions),
    reason: status?.reason,
    message: status?.message,
    containers: [
      ...(status?.initContainerStatuses ?? []).map((container) => containerState(container, true)),
      ...(status?.containerStatuses ?? []).map((container) => containerState(container, false)),
    ],
  };
}

function containerState({ name, ready = false, state }: RawContainerStatus, init: boolean): ContainerState {
  const { waiting, terminated } = state ?? {};
  return {
    name,
    init,
    ready,
    ...(waiting === undefined ? {} : { waiting: { reason: waiting.reason ?? '', message: waiting.message ?? '' } }),
    ...(terminated === undefined
      ? {}
      : {
          terminated: {
            exitCode: terminated.exitCode,
            reason: terminated.reason ?? '',
            message: terminated.message ?? '',
            finishedAt: terminated.finishedAt,
          },
        }),
  };
}

function keptMetadata(metadata: ObjectMeta): ObjectMeta {
  const { name, namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, labels } = metadata;
  const jobUid = labels?.[labelNames.jobUid];
  const jobName = labels?.[labelNames.jobName];
  return {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(typeof creationTimestamp === 'string' ? { creationTimestamp } : {}),
    ...(typeof deletionTimestamp === 'string' ? { deletionTimestamp } : {}),
    ...(deletionGracePeriodSeconds === undefined ? {} : { deletionGracePeriodSeconds }),
    labels: {
      ...(jobUid === undefined ? {} : { [labelNames.jobUid]: jobUid }),
      ...(jobName === undefined ? {} : { [labelNames.jobName]: jobName }),
    },
  };
}

function keptConditions(conditions: readonly Condition[] = []): Condition[] {
  return conditions
    .filter(({ status, type }) => status === 'True' || type === 'PodScheduled' || type === 'Ready')
    .map(({ type, status, reason, message, lastTransitionTime }) => ({
      type,
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(message === undefined ? {} : { message }),
      // Of the others nobody asks how old they are.
      ...(lastTransitionTime === undefined || type !== 'PodScheduled' ? {} : { lastTransitionTime }),
    }));
}

export function holds({ conditions }: { readonly conditions: readonly Condition[] }, type: string): boolean {
  return conditions.some((condition) => condition.type === type && condition.status === 'True');
}
