/** A job's images: what is complete already is kept, the others are made, one at a time by each replica of the mesh. */
import { isDeepStrictEqual } from 'node:util';
import type { Communicator } from '../collectives/communicator.js';
import { parametersAsJson, type ImageParameters, type ImageRecord, type ImageStore, type JsonValue } from '../image/index.js';
import { packageVersion } from '../package-root.js';
import { placeInGang, printMesh, worldSize, type JobMesh } from '../parallel/index.js';
import type { PipelineObserver } from './events.js';
import { ImageQueue } from './image-queue.js';
import { ImageWrites } from './image-writes.js';
import type { Model } from './model.js';
import type { GeneratedImage, Pipeline } from './pipeline.js';
import { imagePath, requestOf, type ImageRequest, type JobRequest } from './request.js';
import { serveLeader, Turns, type Report } from './turns.js';

export interface JobOptions {
  readonly model: Model;
  readonly modelDigest: string;
  readonly mesh: JobMesh;
  readonly backend: { readonly name: string; readonly dtype: string };
  /** Of the whole gang; the pipeline's reaches the ranks of its own image only. */
  readonly communicator: Communicator;
  /** Where images go; asked by rank 0 and by the first rank of each replica. */
  readonly images: ImageStore;
  /** Keep images of an earlier attempt that are complete and were made from the same parameters. */
  readonly resume: boolean;
  readonly observer: PipelineObserver;
  readonly signal?: AbortSignal;
}

/**
 * Makes every image of the job; all ranks call it alike. Each replica of the mesh makes one at a time, and its first rank writes it while the
 * next one is made. An image exists whole or not at all when this rejects.
 */
export async function runJob(pipeline: Pipeline, job: JobRequest, options: JobOptions): Promise<void> {
  const { communicator, mesh, observer, signal } = options;
  const replica = placeInGang(mesh, communicator.rank);
  if (communicator.rank !== 0) {
    await makeImages(pipeline, job, new Turns({ communicator, replica, observer, signal }, undefined), options);
    return;
  }
  const queue = new ImageQueue();
  const failing = new AbortController();
  const either = signal === undefined ? failing.signal : AbortSignal.any([signal, failing.signal]);
  const leaders = Array.from({ length: mesh.data - 1 }, (_, index) => (index + 1) * worldSize(mesh));
  const parts = [
    fill(queue, job, options),
    makeImages(pipeline, job, new Turns({ communicator, replica, observer, signal: either }, queue), { ...options, signal: either }),
    ...leaders.map((leader) =>
      serveLeader(
        leader,
        queue,
        communicator,
        (report) => {
          tellOf(leader, report, job, observer);
        },
        either,
      ),
    ),
  ];
  // What fails first ends the others, and is what is thrown.
  for (const part of parts) {
    part.catch((reason: unknown) => {
      failing.abort(reason);
    });
  }
  await Promise.allSettled(parts);
  failing.signal.throwIfAborted();
}

/** Puts what is not complete in the queue. Others begin meanwhile: an earlier attempt may have left thousands of images to look at. */
async function fill(queue: ImageQueue, job: JobRequest, options: JobOptions): Promise<void> {
  for (let image = 0; image < job.numImages; image++) {
    if (options.resume && (await isComplete(job, image, options))) {
      const [seed, path] = [String(requestOf(job, image).seed), imagePath(job, image)];
      options.observer({ type: 'image', image, seed, path, rank: 0, skipped: true, seconds: 0, stages: {} });
      queue.stir();
    } else queue.add(image);
  }
  queue.close();
}

/** This rank's part in the images of its replica. */
async function makeImages(pipeline: Pipeline, job: JobRequest, turns: Turns, options: JobOptions): Promise<void> {
  const { communicator, mesh, observer } = options;
  const isLeader = placeInGang(mesh, communicator.rank).rank === 0;
  const writes = new ImageWrites(options.signal);
  const { signal } = writes;
  try {
    for (let image = await turns.next(writes); image !== undefined; image = await turns.next(writes)) {
      const request = requestOf(job, image);
      const started = performance.now();
      const generated = await pipeline.generate(request, {
        image,
        observer: (event) => {
          turns.reportEvent(event);
        },
        signal,
      });
      if (!isLeader) continue;
      const [number, path] = [image, imagePath(job, image)];
      writes.begin(async () => {
        const write = await writeOne(path, request, generated, number, { ...options, signal });
        const [seconds, stages] = [(performance.now() - started) / 1000, { ...generated.stages, write }];
        if (communicator.rank === 0) {
          observer({ type: 'image', image: number, seed: String(request.seed), path, rank: 0, skipped: false, seconds, stages });
        }
        turns.report({ kind: 'done', image: number, seconds, stages });
      });
      await writes.atMost(1);
    }
    await writes.atMost(0);
  } catch (error) {
    throw await writes.giveUp(error);
  }
}

/** Rank 0 tells of other replicas' images as of its own. */
function tellOf(rank: number, report: Extract<Report, { kind: 'step' | 'done' }>, job: JobRequest, observer: PipelineObserver): void {
  const { image } = report;
  if (report.kind === 'step') {
    observer({ type: 'replica-step', image, step: report.step, steps: report.steps });
    return;
  }
  const { seconds, stages } = report;
  const [seed, path] = [String(requestOf(job, image).seed), imagePath(job, image)];
  observer({ type: 'image', image, seed, path, rank, skipped: false, seconds, stages });
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
  const parameters = { ...parametersOf(request, options), details };
  // A gang that was given up, on a node that nobody hears, may still run: what either has completed the other leaves as it is.
  const keeps = options.resume ? (record: ImageRecord): boolean => difference(record, request, options) === undefined : undefined;
  if ((await options.images.write(path, generated.image, parameters, { keeps, signal })) === 'kept') {
    observer({ type: 'warning', message: `${path} was completed by another run of this job meanwhile, and stays as it is` });
  }
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

/** Whether the image is there already. What else lies there is replaced, and that is told. */
async function isComplete(job: JobRequest, image: number, options: JobOptions): Promise<boolean> {
  const path = imagePath(job, image);
  const found = await options.images.find(path, options.signal);
  if (found === undefined) return false;
  const differs = difference(found.record, requestOf(job, image), options);
  if (differs === undefined) {
    await found.keep(options.signal);
    return true;
  }
  const message = `${path} was made from other inputs (${differs}) and is made anew: take another output to keep both`;
  options.observer({ type: 'warning', message });
  return false;
}

/** A field in which an image's record is not that of the image asked for; undefined where it is the same. */
function difference(record: ImageRecord, request: ImageRequest, options: JobOptions): string | undefined {
  const wanted = parametersAsJson(parametersOf(request, options));
  return Object.keys(wanted).find((field) => !isDeepStrictEqual(record[field], wanted[field])) ?? addedField(record, wanted);
}

/** A parameter of the recorded image that this request leaves out, such as a negative prompt. */
function addedField(record: ImageRecord, wanted: ImageRecord): string | undefined {
  return Object.keys(record).find((field) => !(field in wanted) && !['file', 'sha256', 'details'].includes(field));
}
