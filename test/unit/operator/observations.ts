/** States of a job and its children, for tests of decisions: written as a server would show them. */
import assert from 'node:assert/strict';
import { validateSdxlJob } from '../../../crds/index.js';
import { isTrue, storedJob, type ConditionType, type JobStatus, type StoredJob } from '../../../operator/api/index.js';
import { decide } from '../../../operator/controller/decide.js';
import { gangJob, gangPod, type GangJob, type GangPod, type Observed } from '../../../operator/controller/observed.js';
import type { Step } from '../../../operator/controller/step.js';
import type { Settings } from '../../../operator/resources/index.js';
import { jobWith } from '../crds/invalid-jobs.js';

export const settings: Settings = { runtimeImage: 'cpu:1', acceleratorImage: 'cuda:1', tokenKey: Buffer.alloc(32, 7) };

type Fields = Readonly<Record<string, unknown>>;

export function job(spec: Fields = {}, status: Partial<JobStatus> = {}, metadata: Fields = {}): StoredJob {
  const validation = validateSdxlJob(jobWith(spec));
  assert.ok(validation.ok, JSON.stringify(validation));
  return storedJob({
    metadata: {
      name: 'flowers-rabbit',
      namespace: 'default',
      uid: 'job-uid',
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...metadata,
    },
    spec: validation.job.spec,
    status: { ...validation.job.status, ...status },
  } as { readonly metadata: object });
}

export function gang(attempt: number, conditions: readonly string[] = [], metadata: Fields = {}): GangJob {
  return gangJob({
    metadata: {
      name: `flowers-rabbit-${String(attempt)}`,
      namespace: 'default',
      uid: `gang-${String(attempt)}`,
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { 'sdxl.io/attempt': String(attempt), 'sdxl.io/job-uid': 'job-uid', 'sdxl.io/job-name': 'flowers-rabbit' },
      ...metadata,
    },
    ...{ spec: {}, status: { conditions: conditions.map((type) => ({ type, status: 'True' })) } },
  });
}

export interface PodState {
  readonly phase?: string;
  readonly ready?: boolean;
  readonly exitCode?: number;
  readonly words?: unknown;
  readonly disrupted?: string;
  readonly unscheduled?: string;
  /** Since when it is not scheduled. */
  readonly since?: string;
  readonly waiting?: string;
  readonly deleted?: string;
  readonly uid?: string;
  readonly finishedAt?: string;
  readonly building?: boolean;
  /** No scheduler has seen it, and it was made then. */
  readonly unheeded?: string;
  /** Since when it has a node, none of its containers begun. */
  readonly mountingSince?: string;
}

export function pod(attempt: number, index: number, state: PodState = {}): GangPod {
  const { exitCode, words, disrupted, unscheduled, since, waiting, deleted, mountingSince, ready = false, building = false } = state;
  const message = words === undefined ? '' : JSON.stringify(words);
  const finishedAt = state.finishedAt ?? '2026-01-01T00:01:00Z';
  const reason = exitCode === 0 ? 'Completed' : 'Error';
  const containerState =
    exitCode !== undefined
      ? { terminated: { exitCode, reason, message, finishedAt } }
      : (waiting ?? mountingSince) !== undefined
        ? { waiting: { reason: waiting ?? 'PodInitializing', message: 'because' } }
        : { running: {} };
  const initState =
    mountingSince !== undefined ? containerState : building ? { running: {} } : { terminated: { exitCode: 0, reason: 'Completed' } };
  return gangPod({
    metadata: {
      name: `flowers-rabbit-${String(attempt)}-${String(index)}`,
      namespace: 'default',
      ...(state.unheeded === undefined ? {} : { creationTimestamp: state.unheeded }),
      uid: state.uid ?? `pod-${String(attempt)}-${String(index)}`,
      ...(deleted === undefined ? {} : { deletionTimestamp: deleted }),
      labels: {
        'sdxl.io/attempt': String(attempt),
        'sdxl.io/job-uid': 'job-uid',
        'batch.kubernetes.io/controller-uid': `gang-${String(attempt)}`,
        'batch.kubernetes.io/job-completion-index': String(index),
      },
    },
    ...{
      spec: state.unheeded === undefined ? { nodeName: 'node-0' } : {},
      status: {
        phase:
          state.phase ??
          (mountingSince !== undefined ? 'Pending' : exitCode === undefined ? 'Running' : exitCode === 0 ? 'Succeeded' : 'Failed'),
        podIP: '10.0.0.1',
        conditions: [
          { type: 'Ready', status: ready ? 'True' : 'False' },
          ...(disrupted === undefined ? [] : [{ type: 'DisruptionTarget', status: 'True', reason: disrupted, message: 'taken away' }]),
          ...(unscheduled === undefined
            ? []
            : [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: unscheduled, lastTransitionTime: since }]),
          ...(mountingSince === undefined ? [] : [{ type: 'PodScheduled', status: 'True', lastTransitionTime: mountingSince }]),
        ],
        initContainerStatuses: [{ name: 'engines', ready: !building && mountingSince === undefined, state: initState }],
        containerStatuses: [{ name: 'ranks', ready, state: containerState }],
      },
    },
  });
}

export const now = new Date('2026-01-01T00:02:00Z');

function observe(of: Partial<Observed> & { readonly job: StoredJob }): Observed {
  return { gangs: [], pods: [], now, ...of };
}

export function decideOn(of: Partial<Observed> & { readonly job: StoredJob }): Step {
  return decide(observe(of), settings);
}

/** The job once the step's status is written. */
export function after(before: StoredJob, step: Step): StoredJob {
  const progress = step.status?.progress ?? before.status.progress;
  return step.status === undefined ? before : { ...before, status: { ...step.status, ...(progress === undefined ? {} : { progress }) } };
}

/** A job whose first attempt is under way, as the operator's own steps made it. */
export function running(
  spec: Fields = {},
  pods = 1,
): { readonly job: StoredJob; readonly gangs: readonly GangJob[]; readonly pods: readonly GangPod[] } {
  const begun = after(job(spec), decideOn({ job: job(spec) }));
  const its = Array.from({ length: pods }, (_, index) => pod(1, index, { ready: true }));
  const gangs = [gang(1)];
  return { job: after(begun, decideOn({ job: begun, gangs, pods: its })), gangs, pods: its };
}

export function trueConditions({ status }: StoredJob): ConditionType[] {
  const types: ConditionType[] = ['Complete', 'Failed', 'Suspended', 'GangReady', 'Restarting', 'SuccessCriteriaMet', 'FailureTarget'];
  return [...types, 'Reconciling' as const, 'Stalled' as const].filter((type) => isTrue(status, type));
}

export function lastWords(code: string, exitCode: number, retriable: boolean, rank = 0): object {
  return { code, exitCode, retriable, rank, message: `it said ${code}` };
}
