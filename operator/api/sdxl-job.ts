/** An SdxlJob as the API server keeps it: valid, with defaults, and with what the server adds. */
import type { SdxlJob, SdxlJobSpec, SdxlJobStatus } from '../../crds/index.js';

export const jobResource = { group: 'sdxl.io', version: 'v1alpha1', kind: 'SdxlJob', plural: 'sdxljobs' } as const;

/** Who cares for jobs that say nothing else. */
export const managedByName = 'sdxl.io/sdxl-operator';

export interface JobMetadata {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly creationTimestamp: string;
  readonly deletionTimestamp?: string;
  readonly finalizers?: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export interface StoredJob {
  readonly metadata: JobMetadata;
  readonly spec: SdxlJobSpec;
  readonly status: JobStatus;
}

/** Whole once the operator has seen the job. */
export type JobStatus = SdxlJobStatus;
export type JobCondition = NonNullable<JobStatus['conditions']>[number];
export type JobPhase = NonNullable<JobStatus['phase']>;
export type JobFailure = NonNullable<JobStatus['lastFailure']>;
export type JobProgress = NonNullable<JobStatus['progress']>;

/** What is kept of an SdxlJob; the API server vouches for its shape. */
export function storedJob(object: { readonly metadata: object }): StoredJob {
  const { metadata, spec, status } = object as SdxlJob;
  const { name = '', namespace = '', uid = '', resourceVersion = '', generation = 0 } = metadata;
  const { creationTimestamp, deletionTimestamp, finalizers, labels = {} } = metadata;
  return {
    metadata: {
      name,
      namespace,
      uid,
      resourceVersion,
      generation,
      creationTimestamp: creationTimestamp ?? '',
      ...(typeof deletionTimestamp === 'string' ? { deletionTimestamp } : {}),
      ...(Array.isArray(finalizers) ? { finalizers: finalizers.filter((name) => typeof name === 'string') } : {}),
      labels,
    },
    spec,
    status,
  };
}

export function rankCount({ parallelism }: SdxlJobSpec): number {
  return parallelism.ranks ?? parallelism.dataDegree * parallelism.cfgDegree * parallelism.patchDegree;
}

export function ranksPerPod(spec: SdxlJobSpec): number {
  return spec.parallelism.ranksPerPod ?? rankCount(spec);
}

export function podCount(spec: SdxlJobSpec): number {
  return rankCount(spec) / ranksPerPod(spec);
}
