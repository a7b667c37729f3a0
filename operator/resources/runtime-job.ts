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
    spec: { ...computed, model: runtimeModel(spec), parallelism, output: { path: outputPath(spec.output.path) } },
  };
}

/** The model by paths that ranks see: what lies in a claim, an image or the cache is found where that is mounted. */
function runtimeModel({ model }: StoredJob['spec']): object {
  const { path, claim, image, huggingFace, ...more } = model;
  const root =
    huggingFace !== undefined ? fetchedModelPath(huggingFace.repo, huggingFace.revision) : path === undefined ? paths.model : undefined;
  const within = (file: string): string => (root === undefined ? file : posix.join(root, posix.normalize(`/${file}`)).replace(/\/$/u, ''));
  const { tokenizer, configFrom, loras } = more;
  return {
    ...more,
    path: path ?? within(claim?.path ?? image?.path ?? ''),
    ...(tokenizer === undefined ? {} : { tokenizer: within(tokenizer) }),
    ...(configFrom === undefined ? {} : { configFrom: within(configFrom) }),
    ...(loras === undefined ? {} : { loras: loras.map((lora) => ({ ...lora, path: within(lora.path) })) }),
  };
}

/** Where a repository's revision lies in the cache. */
export function fetchedModelPath(repo: string, revision: string): string {
  return posix.join(paths.cache, 'models', repo.replaceAll('/', '--'), revision.replaceAll('/', '--'));
}

/** Whatever the path, the image lands in the claim. */
function outputPath(path: string): string {
  return posix.join(paths.output, posix.normalize(`/${path}`));
}
