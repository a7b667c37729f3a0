/** Names of what a job becomes, and of what its pods find inside. docs/operator.md lists them. */
import type { StoredJob } from './sdxl-job.js';

export const labelNames = {
  name: 'app.kubernetes.io/name',
  component: 'app.kubernetes.io/component',
  managedBy: 'app.kubernetes.io/managed-by',
  jobName: 'sdxl.io/job-name',
  jobUid: 'sdxl.io/job-uid',
  attempt: 'sdxl.io/attempt',
} as const;

/** Given to pods by the Job controller. */
export const completionIndexLabel = 'batch.kubernetes.io/job-completion-index';
export const controllerUidLabel = 'batch.kubernetes.io/controller-uid';

const managedByValue = 'sdxl-operator';
export const rankContainer = 'ranks';
export const fetchContainer = 'model';
export const buildContainer = 'engines';
export const metricsPort = 9400;
export const rendezvousPort = 29_500;

export const paths = {
  job: '/etc/sdxl',
  cache: '/cache',
  output: '/output',
  model: '/model',
  sharedMemory: '/dev/shm',
  temporary: '/tmp',
} as const;

type Job = Pick<StoredJob, 'metadata'>;

/** Name of all objects of an attempt. */
export function attemptName({ metadata: { name } }: Job, attempt: number): string {
  return `${name}-${String(attempt)}`;
}

export function outputClaimName({ metadata: { name } }: Job): string {
  return `${name}-output`;
}

/** Host name of a pod, found by DNS in its namespace and beyond. */
export function podHost(job: Job, attempt: number, index: number): string {
  const name = attemptName(job, attempt);
  return `${name}-${String(index)}.${name}.${job.metadata.namespace}.svc`;
}

export function childLabels({ metadata: { name, uid } }: Job): Record<string, string> {
  return {
    [labelNames.name]: 'sdxl',
    [labelNames.component]: 'rank',
    [labelNames.managedBy]: managedByValue,
    [labelNames.jobName]: name,
    [labelNames.jobUid]: uid,
  };
}

/** What is there of an earlier job of this name as well. */
export function labelsOfName({ metadata: { name } }: Job): Record<string, string> {
  return { [labelNames.managedBy]: managedByValue, [labelNames.jobName]: name };
}

/** By which a job's children are found. Labels are anybody's to set, where they may make objects: those of other namespaces are none of a job's. */
export function childrenKey(namespace: string, jobUid: string): string {
  return `${namespace}/${jobUid}`;
}

export function attemptLabels(job: Job, attempt: number): Record<string, string> {
  return { ...childLabels(job), [labelNames.attempt]: String(attempt) };
}
