/** The job as ranks run it: what concerns the cluster is done by then, so model and output are paths and only what the runtime honours is left. */
import { createHash } from 'node:crypto';
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
    spec: { ...computed, model: runtimeModel(spec), parallelism, output: runtimeOutput(spec) },
  };
}

/** The model by paths that ranks see: what lies in a claim, an image or the cache is found where that is mounted. */
function runtimeModel({ model }: StoredJob['spec']): object {
  const { path, claim, image, huggingFace, s3, ...more } = model;
  const root = fetchedModelPath(model) ?? (path === undefined ? paths.model : undefined);
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

/** Where a model that is fetched lies in the cache; undefined for one that is not. */
export function fetchedModelPath({ huggingFace, s3 }: StoredJob['spec']['model']): string | undefined {
  const inOne = (text: string): string => text.replaceAll('/', '--');
  if (huggingFace !== undefined) return posix.join(paths.cache, 'models', inOne(huggingFace.repo), inOne(huggingFace.revision));
  if (s3 === undefined) return undefined;
  // Two servers may have buckets of the same name.
  const place = createHash('sha256').update(JSON.stringify([s3.endpoint ?? '', s3.bucket, s3.prefix]));
  return posix.join(paths.cache, 'models', 's3', `${s3.bucket}-${place.digest('hex').slice(0, 16)}`);
}

/** Whatever the path, the image lands in the claim, or below the prefix. Credentials are in the environment. */
function runtimeOutput({ output: { path, s3 } }: StoredJob['spec']): object {
  const within = posix.normalize(`/${path}`);
  if (s3 === undefined) return { path: posix.join(paths.output, within) };
  const { credentialsSecret, ...place } = s3;
  return { path: within.slice(1), s3: place };
}
