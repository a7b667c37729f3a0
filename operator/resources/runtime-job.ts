/** The job as ranks run it: what concerns the cluster is done by then, so model and output are paths and only what the runtime honours is left. */
import { posix } from 'node:path';
import { apiVersionOf } from '../kube/index.js';
import { jobResource, paths, type StoredJob } from '../api/index.js';

export function runtimeJob({ metadata: { name, namespace }, spec }: StoredJob): object {
  const { suspend, ttlSecondsAfterFinished, activeDeadlineSeconds, failurePolicy, cleanPodPolicy, managedBy, ...rest } = spec;
  const { cache, accelerator, network, scheduling, pods, ...computed } = rest;
  const { ranksPerPod, ...parallelism } = spec.parallelism;
  return {
    apiVersion: apiVersionOf(jobResource),
    kind: jobResource.kind,
    metadata: { name, namespace },
    spec: { ...computed, model: { path: modelPath(spec) }, parallelism, output: { path: outputPath(spec.output.path) } },
  };
}

/** Where ranks find the model. */
export function modelPath({ model }: StoredJob['spec']): string {
  const { path, claim, image, huggingFace } = model;
  if (huggingFace !== undefined) return fetchedModelPath(huggingFace.repo, huggingFace.revision);
  const mounted = claim ?? image;
  return mounted === undefined ? (path ?? '') : posix.join(paths.model, mounted.path);
}

/** Where a repository's revision lies in the cache. */
export function fetchedModelPath(repo: string, revision: string): string {
  return posix.join(paths.cache, 'models', repo.replaceAll('/', '--'), revision.replaceAll('/', '--'));
}

/** Whatever the path, the image lands in the claim. */
function outputPath(path: string): string {
  return posix.join(paths.output, posix.normalize(`/${path}`));
}
