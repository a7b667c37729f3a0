/** A job's images, one after the other: what is complete already is kept, each new one is written by rank 0. */
import { isDeepStrictEqual } from 'node:util';
import type { Communicator } from '../collectives/communicator.js';
import { parametersAsJson, readRecord, writeImage, type ImageParameters, type ImageRecord, type JsonValue } from '../image/index.js';
import { packageVersion } from '../package-root.js';
import { printMesh, type Mesh } from '../parallel/index.js';
import type { PipelineObserver, Stage } from './events.js';
import type { Model } from './model.js';
import type { GeneratedImage, Pipeline } from './pipeline.js';
import { imagePath, type ImageRequest, type JobRequest } from './request.js';

export interface JobOptions {
  readonly model: Model;
  readonly modelDigest: string;
  readonly mesh: Mesh;
  readonly backend: { readonly name: string; readonly dtype: string };
  readonly communicator: Communicator;
  /** Keep images of an earlier attempt that are complete and were made from the same parameters. */
  readonly resume: boolean;
  readonly observer: PipelineObserver;
  readonly signal?: AbortSignal;
}

export interface FinishedImage {
  readonly image: number;
  readonly seed: bigint;
  readonly path: string;
  readonly skipped: boolean;
  readonly seconds: number;
  readonly stages: Readonly<Partial<Record<Stage, number>>>;
}

/** The exchange in which rank 0 tells which images are complete; beyond the tags of any plan. */
const resumeTag = 2 ** 32 - 1;

/** Makes every image of the job; all ranks call it alike. An image exists whole or not at all when this rejects. */
export async function runJob(pipeline: Pipeline, job: JobRequest, options: JobOptions): Promise<FinishedImage[]> {
  const { communicator, observer, signal } = options;
  const complete = await agreeOnComplete(job, options);
  const finished: FinishedImage[] = [];
  for (let image = 0; image < job.numImages; image++) {
    const request: ImageRequest = { ...job.first, seed: job.first.seed + BigInt(image) };
    const path = imagePath(job, image);
    const started = performance.now();
    const elapsed = (): number => (performance.now() - started) / 1000;
    let result: FinishedImage = { image, seed: request.seed, path, skipped: true, seconds: 0, stages: {} };
    if (complete[image] !== 1) {
      const generated = await pipeline.generate(request, { image, ...(signal === undefined ? {} : { signal }) });
      const write = communicator.rank === 0 ? await writeOne(path, request, generated, image, options) : 0;
      result = { ...result, skipped: false, seconds: elapsed(), stages: { ...generated.stages, write } };
    }
    if (communicator.rank === 0) {
      const { seed, skipped, seconds, stages } = result;
      observer({ type: 'image', image, seed: String(seed), path, skipped, seconds, stages });
    }
    finished.push(result);
  }
  return finished;
}

async function writeOne(
  path: string,
  request: ImageRequest,
  generated: GeneratedImage,
  image: number,
  options: JobOptions,
): Promise<number> {
  const { observer, mesh, backend, signal } = options;
  observer({ type: 'stage-started', image, stage: 'write' });
  const started = performance.now();
  const details: Record<string, JsonValue> = {
    mesh: printMesh(mesh),
    backend: backend.name,
    dtype: backend.dtype,
    latencySeconds: { ...generated.stages },
  };
  await writeImage(path, generated.image, { ...parametersOf(request, options), details }, signal === undefined ? {} : { signal });
  const seconds = (performance.now() - started) / 1000;
  observer({ type: 'stage-ended', image, stage: 'write', seconds });
  return seconds;
}

function parametersOf(request: ImageRequest, { model, modelDigest, mesh }: JobOptions): ImageParameters {
  const { negativePrompt, guidanceRescale = 0, scheduler, patches, ...rest } = request;
  const options = scheduler?.options ?? {};
  return {
    ...rest,
    ...(patches === undefined ? {} : { patches: { ...patches, patchDegree: mesh.patch } }),
    ...(negativePrompt === undefined ? {} : { negativePrompt }),
    ...(guidanceRescale === 0 ? {} : { guidanceRescale }),
    scheduler: model.scheduler(scheduler).className,
    ...(Object.keys(options).length === 0 ? {} : { schedulerOptions: options }),
    model: model.parts.directory,
    modelDigest,
    ...(model.parts.loras.length === 0 ? {} : { loras: model.parts.loras }),
    version: packageVersion,
  };
}

/** Rank 0 looks, everyone hears: one byte per image. */
async function agreeOnComplete(job: JobRequest, options: JobOptions): Promise<Uint8Array> {
  const { communicator, resume, signal } = options;
  const flags = new Uint8Array(job.numImages);
  if (!resume) return flags;
  const peers = Array.from({ length: communicator.worldSize }, (_, rank) => rank).filter((rank) => rank !== communicator.rank);
  if (communicator.rank === 0) {
    for (let image = 0; image < job.numImages; image++) flags[image] = (await isComplete(job, image, options)) ? 1 : 0;
  }
  const message = { parts: [flags] };
  const sends = communicator.rank === 0 ? peers.map((peer) => ({ peer, ...message })) : [];
  const receives = communicator.rank === 0 ? [] : [{ peer: 0, ...message }];
  if (peers.length > 0) await communicator.exchange({ operation: 'resume', tag: resumeTag, sends, receives }, signal);
  return flags;
}

/** Complete is an image whose record describes this very file and these very parameters. */
async function isComplete(job: JobRequest, image: number, options: JobOptions): Promise<boolean> {
  const request = { ...job.first, seed: job.first.seed + BigInt(image) };
  const record = await readRecord(imagePath(job, image));
  if (record === undefined) return false;
  const wanted = parametersAsJson(parametersOf(request, options));
  return Object.entries(wanted).every(([field, value]) => isDeepStrictEqual(record[field], value)) && !addsFields(record, wanted);
}

/** Whether the recorded image had a parameter that this request leaves out, such as a negative prompt. */
function addsFields(record: ImageRecord, wanted: ImageRecord): boolean {
  return Object.keys(record).some((field) => !(field in wanted) && !['file', 'sha256', 'details'].includes(field));
}
