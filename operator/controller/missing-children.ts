/**
 * Children that somebody took away before the pods could mount them: the kubelet would wait for them for ever. They are not watched; the server is
 * asked where a pod has waited for long, and less and less often, for what takes long is mostly an image or a volume.
 */
import { labelNames, outputClaimName, type StoredJob } from '../api/index.js';
import { findOwn, resources, type ApiClient } from '../kube/index.js';
import { attemptChildren, type Child, type Settings } from '../resources/index.js';
import type { GangJob, GangPod } from './observed.js';

/** Volumes and small images take no longer. */
export const patienceMs = 15_000;
const mostMs = 300_000;

export class MissingChildren {
  readonly #client: ApiClient;
  readonly #settings: Settings;
  readonly #askedAt = new Map<string, number>();

  constructor(client: ApiClient, settings: Settings) {
    this.#client = client;
    this.#settings = settings;
  }

  /** Those of this gang's children that are not there, its Job excepted; none where it is too early to ask. */
  async of(job: StoredJob, gang: GangJob, pods: readonly GangPod[], now: Date, signal: AbortSignal): Promise<readonly Child[]> {
    const { uid = '' } = gang.metadata;
    const sinceMs = waitsForChildrenMs(job, pods, now);
    if (sinceMs === undefined || sinceMs < patienceMs) return [];
    const time = performance.now();
    for (const [other, askedAt] of this.#askedAt) if (time - askedAt > 2 * mostMs) this.#askedAt.delete(other);
    // A little less than `askAgainMs`, whose time is to find it due.
    if (time - (this.#askedAt.get(uid) ?? -Infinity) < askAgainMs(sinceMs) / 2) return [];
    this.#askedAt.set(uid, time);
    const missing: Child[] = [];
    for (const child of childrenOf(job, gang, this.#settings)) {
      const found = await findOwn(this.#client, child.resource, child.object, { [labelNames.jobUid]: job.metadata.uid }, signal);
      if (found === undefined) missing.push(child);
    }
    return missing;
  }
}

/** Those of the gang but its Job, as they were made: certificates are valid from the same day on. */
function childrenOf(job: StoredJob, { attempt, metadata: { creationTimestamp } }: GangJob, settings: Settings): readonly Child[] {
  const made = new Date(creationTimestamp ?? job.metadata.creationTimestamp);
  return attemptChildren(job, attempt, settings, made).filter(({ resource }) => resource !== resources.job);
}

/** How long a pod has waited for something that may be one of its gang's children; undefined: none does. */
export function waitsForChildrenMs(job: StoredJob, pods: readonly GangPod[], now: Date): number | undefined {
  const claim = outputClaimName(job);
  const ages = pods.flatMap((pod) => {
    const placed = pod.conditions.find(({ type }) => type === 'PodScheduled');
    const lacksClaim = placed?.status === 'False' && placed.message?.includes(`"${claim}" not found`) === true;
    return (lacksClaim ? sincePlacedMs(pod, now) : mountingMs(pod, now)) ?? [];
  });
  return ages.length === 0 ? undefined : Math.max(...ages);
}

/** When to ask, again and again, after what a pod that has waited so long waits for. */
export function askAgainMs(sinceMs: number): number {
  return sinceMs < patienceMs ? Math.min(patienceMs, patienceMs - sinceMs) : Math.min(mostMs, Math.max(patienceMs, sinceMs / 2));
}

/** For how long its volumes have been mounted, or its first image pulled; undefined: a container of it has begun, or it has no node. */
export function mountingMs(pod: GangPod, now: Date): number | undefined {
  const { node, phase, metadata, containers } = pod;
  if (node === undefined || phase !== 'Pending' || metadata.deletionTimestamp !== undefined) return undefined;
  const none = containers.every(
    ({ waiting }) => waiting !== undefined && ['ContainerCreating', 'PodInitializing'].includes(waiting.reason),
  );
  return none ? sincePlacedMs(pod, now) : undefined;
}

function sincePlacedMs({ conditions }: GangPod, now: Date): number {
  const time = conditions.find(({ type }) => type === 'PodScheduled')?.lastTransitionTime;
  return time === undefined ? 0 : now.getTime() - Date.parse(time);
}

/** A container of it has begun, and so its volumes are mounted. */
export function hasBegun({ containers }: GangPod): boolean {
  return containers.some(({ waiting }) => waiting === undefined);
}
