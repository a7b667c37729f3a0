/** Volumes of a gang's pods, and where they are mounted. */
import { attemptName, outputClaimName, paths, type StoredJob } from '../api/index.js';

export interface Mount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}

export interface Volumes {
  readonly volumes: readonly object[];
  readonly mounts: readonly Mount[];
}

export function volumesOf(job: StoredJob, attempt: number): Volumes {
  const { model, output, cache, pods } = job.spec;
  const name = attemptName(job, attempt);
  const claim = (claimName: string, readOnly = false): object => ({
    persistentVolumeClaim: { claimName, ...(readOnly ? { readOnly } : {}) },
  });
  const all: { readonly name: string; readonly source: object; readonly mountPath: string; readonly readOnly?: boolean }[] = [
    // The job's file and the token beside it, read by the pod's group alone.
    {
      name: 'job',
      source: { projected: { defaultMode: 0o440, sources: [{ configMap: { name } }, { secret: { name } }] } },
      mountPath: paths.job,
      readOnly: true,
    },
    { name: 'cache', source: cache === undefined ? { emptyDir: {} } : claim(cache.claim.name), mountPath: paths.cache },
    // Images for a bucket wait in the cache.
    ...(output.s3 === undefined
      ? [{ name: 'output', source: claim(output.claim?.name ?? outputClaimName(job)), mountPath: paths.output }]
      : []),
    // NCCL and ONNX Runtime share memory between processes; a container's default of 64 MiB is not enough for either.
    {
      name: 'shared-memory',
      source: { emptyDir: { medium: 'Memory', sizeLimit: pods.sharedMemorySize } },
      mountPath: paths.sharedMemory,
    },
    { name: 'temporary', source: { emptyDir: {} }, mountPath: paths.temporary },
  ];
  if (model.claim !== undefined) {
    all.push({ name: 'model', source: claim(model.claim.name, true), mountPath: paths.model, readOnly: true });
  }
  if (model.image !== undefined) {
    const { reference, pullPolicy } = model.image;
    all.push({ name: 'model', source: { image: { reference, pullPolicy } }, mountPath: paths.model, readOnly: true });
  }
  return {
    volumes: all.map(({ name: volume, source }) => ({ name: volume, ...source })),
    mounts: all.map(({ name: volume, mountPath, readOnly }) => ({
      name: volume,
      mountPath,
      ...(readOnly === true ? { readOnly } : {}),
    })),
  };
}
