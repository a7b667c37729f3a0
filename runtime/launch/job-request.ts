/** From the contract to the pipeline: the job's fields as the request every rank computes. */
import { createHash } from 'node:crypto';
import { posix, resolve } from 'node:path';
import { imageCount } from '../../crds/image-count.js';
import type { SdxlJobSpec, SdxlJobSpecPrompt } from '../../crds/index.js';
import type { JobMesh } from '../parallel/index.js';
import {
  requestOf,
  type ImageRequest,
  type JobRequest,
  type ModelSource,
  type PatchTiming,
  type PromptRequest,
} from '../pipeline/index.js';
import { objectUri } from '../storage/index.js';
import type { LocalSpec } from './cluster-fields.js';
import type { SchedulerChoice } from '../schedulers/index.js';

export interface NamedJob {
  readonly name: string;
  readonly spec: SdxlJobSpec;
}

export function meshOf({ parallelism }: SdxlJobSpec): JobMesh {
  return { data: parallelism.dataDegree, cfg: parallelism.cfgDegree, patch: parallelism.patchDegree };
}

/** The job's model with every path made absolute: what ranks open. */
export function resolvedModel(model: LocalSpec['model']): LocalSpec['model'] {
  return {
    ...model,
    path: resolve(model.path),
    ...(model.tokenizer === undefined ? {} : { tokenizer: resolve(model.tokenizer) }),
    ...(model.configFrom === undefined ? {} : { configFrom: resolve(model.configFrom) }),
    ...(model.loras === undefined ? {} : { loras: model.loras.map((lora) => ({ ...lora, path: resolve(lora.path) })) }),
  };
}

export function modelSource({ path, variant, tokenizer, configFrom, loras }: LocalSpec['model']): ModelSource {
  return {
    path,
    ...(variant === undefined ? {} : { variant }),
    ...(tokenizer === undefined ? {} : { tokenizer }),
    ...(configFrom === undefined ? {} : { configFrom }),
    ...(loras === undefined ? {} : { loras: loras.map((lora) => ({ path: lora.path, weight: Number(lora.weight) })) }),
  };
}

/** Undefined: every step is synchronous. */
export function patchTimingOf({ parallelism: { mode, warmupSteps } }: SdxlJobSpec): PatchTiming | undefined {
  return mode === 'Synchronous' ? undefined : { mode, warmupSteps };
}

export function toJobRequest({ name, spec }: NamedJob): JobRequest {
  const prompts = (spec.prompts ?? [{ prompt: spec.prompt ?? '' }]).map((prompt) => promptRequest(prompt));
  const images = { shared: sharedRequest(spec), prompts, imagesPerPrompt: spec.numImages };
  return { name, numImages: imageCount(spec), output: outputOf(spec.output), first: requestOf(images, 0), ...images };
}

/** A file's path, or an object's URI. */
function outputOf({ path, s3 }: SdxlJobSpec['output']): string {
  if (s3 === undefined) return resolve(path);
  return objectUri({ bucket: s3.bucket, key: posix.join('/', s3.prefix, posix.normalize(`/${path}`)).slice(1) });
}

function promptRequest({ seed, guidanceScale, ...prompt }: SdxlJobSpecPrompt): PromptRequest {
  return {
    ...prompt,
    ...(seed === undefined ? {} : { seed: BigInt(seed) }),
    ...(guidanceScale === undefined ? {} : { guidanceScale: Number(guidanceScale) }),
  };
}

/** Denoising steps of each of the first `images` images. */
export function stepsOfImages({ prompts, numImages, numInferenceSteps }: SdxlJobSpec, images: number): number[] {
  return Array.from({ length: images }, (_, image) => prompts?.[Math.floor(image / numImages)]?.numInferenceSteps ?? numInferenceSteps);
}

function sharedRequest(spec: SdxlJobSpec): ImageRequest {
  const patches = patchTimingOf(spec);
  return {
    ...given(spec, [
      'prompt2',
      'negativePrompt2',
      'originalSize',
      'cropsCoordsTopLeft',
      'targetSize',
      'negativeOriginalSize',
      'negativeCropsCoordsTopLeft',
      'negativeTargetSize',
    ]),
    prompt: spec.prompt ?? '',
    negativePrompt: spec.negativePrompt,
    ...(spec.promptSyntax === 'Plain' ? {} : { promptSyntax: spec.promptSyntax }),
    ...(spec.clipSkip === 0 ? {} : { clipSkip: spec.clipSkip }),
    height: spec.height,
    width: spec.width,
    numInferenceSteps: spec.numInferenceSteps,
    guidanceScale: Number(spec.guidanceScale),
    guidanceRescale: Number(spec.guidanceRescale),
    scheduler: schedulerChoice(spec),
    seed: BigInt(spec.seed),
    ...(patches === undefined ? {} : { patches }),
  };
}

/** The fields that are there, so that a record holds no others. */
function given<K extends keyof SdxlJobSpec>(spec: SdxlJobSpec, fields: readonly K[]): Pick<SdxlJobSpec, K> {
  return Object.fromEntries(fields.flatMap((field) => (spec[field] === undefined ? [] : [[field, spec[field]]]))) as Pick<SdxlJobSpec, K>;
}

/** The contract's enum values as scheduler_config.json writes them. */
const schedulerValues: Readonly<Record<string, string>> = {
  Leading: 'leading',
  Trailing: 'trailing',
  Linspace: 'linspace',
  Epsilon: 'epsilon',
  VPrediction: 'v_prediction',
  Sample: 'sample',
  Zero: 'zero',
  SigmaMin: 'sigma_min',
  DPMSolverPlusPlus: 'dpmsolver++',
  SdeDPMSolverPlusPlus: 'sde-dpmsolver++',
  Midpoint: 'midpoint',
  Heun: 'heun',
  Bh1: 'bh1',
  Bh2: 'bh2',
};

function schedulerChoice({ scheduler, schedulerOptions = {} }: SdxlJobSpec): SchedulerChoice {
  const options = Object.entries<string | number | boolean>({ ...schedulerOptions }).map(([option, value]) => {
    const written = option === 'eta' ? Number(value) : typeof value === 'string' ? schedulerValues[value] : value;
    if (written === undefined) throw new Error(`schedulerOptions.${option}: no value of scheduler_config.json stands for ${String(value)}`);
    return [option, written] as const;
  });
  return { className: scheduler === 'Auto' ? undefined : `${scheduler}Scheduler`, options: Object.fromEntries(options) };
}

/** Digest of everything that decides what the ranks compute; what only places or times them may differ between machines. */
export function jobDigest(spec: SdxlJobSpec): string {
  const elsewhere: readonly string[] = [
    'model',
    'output',
    'rendezvousTimeoutSeconds',
    'progressDeadlineSeconds',
  ] satisfies (keyof SdxlJobSpec)[];
  const computed = Object.fromEntries(Object.entries(spec).filter(([field]) => !elsewhere.includes(field)));
  return createHash('sha256').update(JSON.stringify(computed, sortedKeys)).digest('hex');
}

/** A job's fields may stand in any order. */
function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
