/** Where a job's images go: files, or a bucket. */
import { imageFiles, type ImageStore } from '../image/index.js';
import { BucketImages } from '../storage/index.js';
import type { Environment } from './environment.js';
import type { LocalSpec } from './cluster-fields.js';

export interface OpenImages extends AsyncDisposable {
  readonly images: ImageStore;
}

/** The job's output with what the environment adds to it. */
export function resolvedOutput({ output }: LocalSpec, { objectStorage }: Environment): LocalSpec['output'] {
  if (output.s3 === undefined) return output;
  const { endpoint = objectStorage.endpoint, region = objectStorage.region, ...named } = output.s3;
  return { ...output, s3: { ...named, ...(endpoint === undefined ? {} : { endpoint }), ...(region === undefined ? {} : { region }) } };
}

/** Speaks to no server yet. `onRetry` is told of each upload that has to be tried again. */
export async function openImages(
  { output, progressDeadlineSeconds }: LocalSpec,
  cacheDirectory: string,
  onRetry: (message: string) => void,
): Promise<OpenImages> {
  if (output.s3 === undefined) return { images: imageFiles, [Symbol.asyncDispose]: () => Promise.resolve() };
  const { bucket, endpoint, region } = output.s3;
  const images = await BucketImages.open({
    bucket,
    endpoint,
    region,
    cacheDirectory,
    patience: {
      // A rank that uploads makes no other progress, and peers that wait for it have the same deadline.
      deadlineMs: progressDeadlineSeconds * 500,
      onRetry: (error, waitMs) => {
        onRetry(`object storage is tried again in ${(waitMs / 1000).toFixed(1)} s: ${error.message}`);
      },
    },
  });
  return {
    images,
    [Symbol.asyncDispose]: async () => {
      images.close();
    },
  };
}
