/**
 * One reconcile: read a job and its children from the caches, decide, carry the step out: status and what metrics count of it, then what is applied,
 * then what is deleted, then events. Where a decision would rest on something that is not there, the API server is asked, for caches may lag behind each other.
 */
import {
  attemptName,
  childrenKey,
  conditionOf,
  controllerUidLabel,
  isFinished,
  jobResource,
  labelNames,
  labelsOfName,
  podCount,
  storedJob,
  withConditions,
  type JobStatus,
  type StoredJob,
} from '../api/index.js';
import {
  ApiError,
  apiVersionOf,
  applyOwn,
  createOwn,
  keyOf,
  pathOf,
  resources,
  type ApiClient,
  type Informer,
  type KubeList,
  type Resource,
} from '../kube/index.js';
import type { Child, Settings } from '../resources/index.js';
import { decide } from './decide.js';
import { tell } from './events.js';
import type { Log } from './log.js';
import type { OperatorMetrics } from './metrics.js';
import { MissingChildren } from './missing-children.js';
import { gangJob, gangPod, holds, type GangJob, type GangPod, type Observed } from './observed.js';
import { isEnded } from './pod-end.js';
import { Refusals } from './refusals.js';
import type { Step } from './step.js';
import { Untold } from './untold.js';

export interface ReconcilerParts {
  readonly client: ApiClient;
  readonly jobs: Informer<StoredJob>;
  readonly gangs: Informer<GangJob>;
  readonly pods: Informer<GangPod>;
  readonly settings: Settings;
  readonly metrics: OperatorMetrics;
  readonly log: Log;
  /** How long rank 0 has told of no progress. */
  readonly stalledMs: (job: StoredJob) => number | undefined;
}

/** A Job that no event tells of, because somebody took its labels away, is looked at so often. */
const unwatchedMs = 10_000;
/** What is left of an earlier job of the name mostly waits for a pod to end. */
const leavingMs = 2_000;
/** A job of a namespace that is being deleted is looked at so often, should anything keep both. */
const namespaceEndsMs = 60_000;
/** A Job without pods for so long is asked why. */
const podsMissingMs = 2_000;

/** The server takes a child of the job as little as anybody else's of the kind: nothing is wrong with the operator. */
export class ChildRefused extends Error {
  override readonly name = 'ChildRefused';

  constructor(cause: ApiError) {
    super(cause.message, { cause });
  }
}

export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #refusals: Refusals;
  readonly #missing: MissingChildren;
  readonly #untold: Untold;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#refusals = new Refusals(parts.client);
    this.#missing = new MissingChildren(parts.client, parts.settings);
    this.#untold = new Untold(parts.client);
  }

  /** Does what is next for the job. @returns when to look again, in milliseconds; undefined: when something changes */
  async reconcile(key: string, signal: AbortSignal): Promise<number | undefined> {
    const { gangs, jobs } = this.#parts;
    const job = jobs.get(key);
    if (job === undefined) {
      this.#untold.forget(key);
      return undefined;
    }
    const untold = await this.#untold.tell(key, job, signal);
    const observed = await this.#observe(job, signal);
    const step = decide(observed, this.#parts.settings);
    try {
      if (await this.#goesWithItsNamespace(job, step, signal)) return namespaceEndsMs;
      await this.#carryOut(job, step, signal);
    } catch (error) {
      if (error instanceof ApiError && error.isOfEndingNamespace) return namespaceEndsMs;
      if (error instanceof ApiError && error.isLeaving) return leavingMs;
      // The status may have been written all the same.
      if (!(error instanceof ApiError && error.isConflict)) this.#untold.forget(key);
      throw error;
    }
    if (untold.error !== undefined) throw untold.error;
    const isWatched = observed.gangs.every(({ metadata }) => gangs.get(keyOf({ metadata })) !== undefined);
    const againMs = Math.min(step.requeueAfterMs ?? Infinity, untold.againMs ?? Infinity, isWatched ? Infinity : unwatchedMs);
    return againMs === Infinity ? undefined : againMs;
  }

  /** Pods go before their jobs where a namespace is deleted: neither is that a disruption to be counted, nor can there be another attempt. */
  async #goesWithItsNamespace(job: StoredJob, { facts, events }: Step, signal: AbortSignal): Promise<boolean> {
    const isLoss = facts.some((fact) => fact.type === 'restarted' || (fact.type === 'finished' && fact.result === 'failed'));
    const [event] = events;
    if (!isLoss || event === undefined) return false;
    try {
      await tell(this.#parts.client, job, event, signal, true);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return error.isOfEndingNamespace;
    }
    return false;
  }

  async #observe(job: StoredJob, signal: AbortSignal): Promise<Observed> {
    const { client, gangs, pods, stalledMs } = this.#parts;
    const key = childrenKey(job.metadata.namespace, job.metadata.uid);
    const found = gangs.indexed(key);
    const attempt = job.status.attempt ?? 0;
    const expected = job.status.gang?.jobUid !== undefined && !isFinished(job.status);
    if (expected && !found.some((gang) => gang.attempt === attempt)) found.push(...(await this.#liveGang(job, attempt, signal)));
    const current = found.find((gang) => gang.attempt === attempt);
    let its = pods.indexed(key);
    if (current !== undefined && !isFinished(job.status) && hasEnded(current) && !allEnded(job, current, its)) {
      its = [...its.filter(({ jobUid }) => jobUid !== current.metadata.uid), ...(await this.#livePods(job, current, signal))];
    }
    // Asked last: what was read is not of a time to come.
    const now = client.clock.now();
    return {
      job,
      gangs: found,
      pods: its,
      now,
      stalledMs: stalledMs(job),
      podsRefused: current === undefined ? undefined : await this.#podsRefused(job, current, its, now, signal),
      missing: current === undefined ? [] : await this.#missingOf(job, current, its, now, signal),
    };
  }

  async #liveGang(job: StoredJob, attempt: number, signal: AbortSignal): Promise<GangJob[]> {
    const object = await this.#parts.client.get(resources.job, job.metadata.namespace, attemptName(job, attempt), signal);
    return object?.metadata.ownerReferences?.some(({ uid }) => uid === job.metadata.uid) === true ? [gangJob(object)] : [];
  }

  /** Pods of a gang: what they said at their end may be on its way to the cache when the Job that tells of their end is there. */
  async #livePods(job: StoredJob, gang: GangJob, signal: AbortSignal): Promise<GangPod[]> {
    const { items } = await this.#parts.client.call<KubeList>({
      verb: 'GET',
      path: pathOf(resources.pod, job.metadata.namespace),
      query: { labelSelector: `${controllerUidLabel}=${gang.metadata.uid ?? ''}` },
      signal,
    });
    return (items ?? []).map(gangPod);
  }

  /** The Job controller's last word on why it makes no pods. */
  async #podsRefused(job: StoredJob, gang: GangJob, pods: readonly GangPod[], now: Date, signal: AbortSignal): Promise<string | undefined> {
    const { namespace } = job.metadata;
    const { uid, creationTimestamp } = gang.metadata;
    const has = pods.filter(({ jobUid }) => jobUid === uid).length;
    const ageMs = now.getTime() - Date.parse(creationTimestamp ?? now.toISOString());
    if (gang.suspended || gang.conditions.length > 0 || has >= podCount(job.spec) || ageMs < podsMissingMs) return undefined;
    return this.#refusals.of(namespace, uid ?? '', signal);
  }

  async #missingOf(job: StoredJob, gang: GangJob, pods: readonly GangPod[], now: Date, signal: AbortSignal): Promise<readonly Child[]> {
    if (isFinished(job.status) || job.spec.suspend || job.metadata.deletionTimestamp !== undefined || gang.suspended) return [];
    return await this.#missing.of(job, gang, pods, now, signal);
  }

  async #carryOut(job: StoredJob, step: Step, signal: AbortSignal): Promise<void> {
    const { client, metrics, log } = this.#parts;
    const { name, namespace } = job.metadata;
    let written = job;
    if (step.status !== undefined) written = await this.#writeStatus(job, step.status, signal);
    for (const fact of step.facts) metrics.happened(namespace, fact);
    try {
      await this.#changeChildren(written, step, signal);
    } finally {
      // They are of the status that was written, whatever becomes of the children: no later step tells of them.
      for (const event of step.events) {
        log.log(event.type === 'Normal' ? 'info' : 'warn', event.message, { namespace, job: name, reason: event.reason });
        await tell(client, written, event, signal);
      }
    }
  }

  async #changeChildren(job: StoredJob, { apply, remove }: Step, signal: AbortSignal): Promise<void> {
    const { client } = this.#parts;
    const owner = { labels: { [labelNames.jobUid]: job.metadata.uid }, earlier: labelsOfName(job) };
    for (const { resource, object } of apply) {
      try {
        // One that is there stays as it is: a Job cannot be changed into another, and by now its queue may have started it; a claim may have been made larger.
        const put = resource === resources.job || resource === resources.claim ? createOwn : applyOwn;
        await put(client, resource, object, owner, signal);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.isLeaving) await this.#waits(job, { reason: 'NotStarted', message: error.message.replace(/^\S+ \S+: /u, '') }, signal);
        else if (error.isRefusal && !error.isOfEndingNamespace) {
          const unserved = error.isNotFound && !error.message.includes('namespaces "') ? `: ${whatServes(resource)}` : '';
          await this.#refused(job, `${error.message}${unserved}`, signal);
          if (!error.isOfRights) throw new ChildRefused(error);
        }
        throw error;
      }
    }
    for (const { resource, object } of remove) await client.delete(resource, object, signal);
  }

  /** The one write of the status; it fails where the job has changed since it was read. */
  async #writeStatus(job: StoredJob, status: JobStatus, signal: AbortSignal): Promise<StoredJob> {
    const { client, jobs } = this.#parts;
    const { name, namespace, resourceVersion } = job.metadata;
    const object = { metadata: { name, namespace, resourceVersion }, status };
    const written = await client.apply(jobResource, object, { subresource: 'status', signal });
    jobs.absorb(written);
    return storedJob(written);
  }

  /** A child that the server refuses is told in the status: nothing else would show why there is no gang. */
  async #refused(job: StoredJob, told: string, signal: AbortSignal): Promise<void> {
    const reason = told.includes('exceeded quota') ? 'QuotaExceeded' : 'ChildRefused';
    const message = told.slice(0, 4000);
    const written = await this.#waits(job, { reason, message }, signal);
    if (written !== undefined) await tell(this.#parts.client, written, { type: 'Warning', reason, message }, signal);
  }

  /** @returns the job where that was not its status before */
  async #waits(
    job: StoredJob,
    { reason, message }: { reason: string; message: string },
    signal: AbortSignal,
  ): Promise<StoredJob | undefined> {
    const { progress, ...status } = job.status;
    const before = conditionOf(status, 'GangReady');
    if (before?.reason === reason && before.message === message) return undefined;
    const change = { GangReady: { status: false, reason, message } };
    const now = this.#parts.client.clock.now();
    return await this.#writeStatus(job, withConditions(status, change, job.metadata.generation, now), signal);
  }
}

function whatServes(resource: Resource): string {
  return `this cluster has no ${resource.kind} of ${apiVersionOf(resource)}: install what serves it, or give the job another spec.scheduling.gang`;
}

function hasEnded(gang: GangJob): boolean {
  return ['Complete', 'FailureTarget', 'Failed'].some((type) => holds(gang, type));
}

function allEnded(job: StoredJob, gang: GangJob, pods: readonly GangPod[]): boolean {
  return pods.filter((pod) => pod.jobUid === gang.metadata.uid && isEnded(pod)).length >= podCount(job.spec);
}
