/** What all children have in common: name, labels and their owner, with which they go. */
import { attemptLabels, attemptName, jobResource, type StoredJob } from '../api/index.js';
import { apiVersionOf, type KubeObject, type ObjectMeta, type OwnerReference, type Resource } from '../kube/index.js';

/** An object to be applied. */
export interface Child {
  readonly resource: Resource;
  readonly object: KubeObject & Readonly<Record<string, unknown>>;
}

export function ownerOf({ metadata: { name, uid } }: StoredJob): OwnerReference {
  return { apiVersion: apiVersionOf(jobResource), kind: jobResource.kind, name, uid, controller: true, blockOwnerDeletion: true };
}

export function attemptMetadata(job: StoredJob, attempt: number): ObjectMeta {
  return {
    name: attemptName(job, attempt),
    namespace: job.metadata.namespace,
    labels: attemptLabels(job, attempt),
    ownerReferences: [ownerOf(job)],
  };
}
