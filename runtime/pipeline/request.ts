import type { PatchMode } from '../parallel/index.js';
import type { SchedulerChoice } from '../schedulers/index.js';

/** When bands of rows learn of each other; see parallel/displacement.ts. */
export interface PatchTiming {
  readonly mode: PatchMode;
  /** Steps 0 … warmupSteps of an image are synchronous whatever the mode. */
  readonly warmupSteps: number;
}

/** Pixels. */
export interface PixelSize {
  readonly height: number;
  readonly width: number;
}

/** Pixels. */
export interface CropOffset {
  readonly top: number;
  readonly left: number;
}

/** One image to make, every parameter resolved. */
export interface ImageRequest {
  readonly prompt: string;
  /** For the second text encoder. Undefined: `prompt`. */
  readonly prompt2?: string;
  /** Undefined: the model's unconditional embedding (zeros for SDXL base); an empty string is encoded like any other. */
  readonly negativePrompt: string | undefined;
  /** For the second text encoder, where there is a negative prompt. Undefined: `negativePrompt`. */
  readonly negativePrompt2?: string;
  /** `Weighted`: prompts have weights and any length. Undefined: they are plain text, of which 75 tokens count. */
  readonly promptSyntax?: 'Weighted';
  /** Layers left out at the end of both text encoders, beyond the last; the components must be planned for it. Undefined: none. */
  readonly clipSkip?: number;
  /** What the UNet is told of a training picture (Podell et al. 2023, section 2.2). Undefined: the image's own size, no crop. */
  readonly originalSize?: PixelSize;
  readonly cropsCoordsTopLeft?: CropOffset;
  readonly targetSize?: PixelSize;
  /** The same for the negative branch, both sizes or neither. Undefined: as for the other branch. */
  readonly negativeOriginalSize?: PixelSize;
  readonly negativeCropsCoordsTopLeft?: CropOffset;
  readonly negativeTargetSize?: PixelSize;
  /** Pixels. */
  readonly height: number;
  readonly width: number;
  readonly numInferenceSteps: number;
  /** Classifier-free guidance acts above 1. */
  readonly guidanceScale: number;
  /** From 0, the default, to 1: how far guided predictions are scaled back to the spread of the conditional ones. */
  readonly guidanceRescale?: number | undefined;
  /** Undefined: the model's own. */
  readonly scheduler?: SchedulerChoice | undefined;
  /** 0 … 2⁶⁴ − 1. */
  readonly seed: bigint;
  /** Undefined: every step is synchronous, and the image that of one rank. */
  readonly patches?: PatchTiming;
}

/** One prompt of several: what it does not say is as in the job. */
export type PromptRequest = Pick<ImageRequest, 'prompt'> &
  Partial<
    Pick<
      ImageRequest,
      'prompt2' | 'negativePrompt' | 'negativePrompt2' | 'seed' | 'height' | 'width' | 'numInferenceSteps' | 'guidanceScale'
    >
  >;

/** A job's images: each has a seed and a generator of its own. */
export interface JobRequest {
  readonly name: string;
  /** The first image. */
  readonly first: ImageRequest;
  /** What all images share; its seed is that of image 0 where no prompt has one. */
  readonly shared: ImageRequest;
  /** At least one. */
  readonly prompts: readonly PromptRequest[];
  readonly imagesPerPrompt: number;
  /** Of all prompts. */
  readonly numImages: number;
  /** Path of image 0, or its URI; see {@link imagePath} for the others. */
  readonly output: string;
}

/** What image i is made from. */
export function requestOf(job: Pick<JobRequest, 'shared' | 'prompts' | 'imagesPerPrompt'>, image: number): ImageRequest {
  const { shared, prompts, imagesPerPrompt } = job;
  const prompt = prompts[Math.floor(image / imagesPerPrompt)];
  const seed = prompt?.seed === undefined ? shared.seed + BigInt(image) : prompt.seed + BigInt(image % imagesPerPrompt);
  return { ...shared, ...prompt, seed };
}

/** Where image i goes: the output itself for a single image, else `<name>-<i>.png`. */
export function imagePath({ output, numImages }: JobRequest, image: number): string {
  if (numImages === 1) return output;
  return `${output.replace(/\.png$/i, '')}-${String(image)}.png`;
}
