/** What made an image, in the two forms that are embedded into it. */
import type { PngText } from './png.js';

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

export interface ImageParameters {
  readonly prompt: string;
  /** What the second text encoder was told, where it was something else; so below. */
  readonly prompt2?: string;
  /** Absent is not the same as empty: it may stand for zero embeddings. */
  readonly negativePrompt?: string;
  readonly negativePrompt2?: string;
  /** How the prompts are to be read, where they are not plain text. */
  readonly promptSyntax?: 'Weighted';
  /** Layers of the text encoders that were left out beyond the last, where there were any. */
  readonly clipSkip?: number;
  /** What the UNet was told of sizes, where it was not the image's own and no crop. */
  readonly originalSize?: { readonly height: number; readonly width: number };
  readonly cropsCoordsTopLeft?: { readonly top: number; readonly left: number };
  readonly targetSize?: { readonly height: number; readonly width: number };
  readonly negativeOriginalSize?: { readonly height: number; readonly width: number };
  readonly negativeCropsCoordsTopLeft?: { readonly top: number; readonly left: number };
  readonly negativeTargetSize?: { readonly height: number; readonly width: number };
  readonly seed: bigint;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  /** Absent where predictions are not scaled back. */
  readonly guidanceRescale?: number;
  readonly width: number;
  readonly height: number;
  /** How bands of rows learnt of each other where it was not synchronous: then the pixels depend on it, and on the number of bands. */
  readonly patches?: { readonly mode: string; readonly warmupSteps: number; readonly patchDegree: number };
  /** Class name of the scheduler. */
  readonly scheduler: string;
  /** What the job said instead of the model's scheduler_config.json. */
  readonly schedulerOptions?: Readonly<Record<string, string | number | boolean>>;
  /** The model as the user named it. */
  readonly model: string;
  readonly modelDigest?: string;
  /** Adapters merged into it, where there are any. */
  readonly loras?: readonly { readonly path: string; readonly weight: number }[];
  /** This program's version. */
  readonly version: string;
  /** Anything more that is worth keeping: mesh, backend, dtype, latencies. Not part of the A1111 text. */
  readonly details?: Readonly<Record<string, JsonValue>>;
}

/** Keyword of the JSON chunk. */
export const jsonKeyword = 'sdxl-operator';
/** Keyword that image browsers of the Stable Diffusion world read. */
export const parametersKeyword = 'parameters';

export function parametersAsText(parameters: ImageParameters): PngText {
  return [
    [parametersKeyword, a1111Text(parameters)],
    // Without what was measured: the same image is the same file, whenever it was made.
    [jsonKeyword, asciiJson(withoutMeasurements(parametersAsJson(parameters)))],
  ];
}

/** The record of the JSON chunk and of the file beside the image. The seed is text: it may exceed 2^53. */
export function parametersAsJson(parameters: ImageParameters): Readonly<Record<string, JsonValue>> {
  const { seed, details, ...rest } = parameters;
  return { ...rest, seed: seed.toString(), ...(details === undefined ? {} : { details }) };
}

function withoutMeasurements({ details, ...rest }: Readonly<Record<string, JsonValue>>): JsonValue {
  if (typeof details !== 'object' || details === null) return rest;
  return { ...rest, details: Object.fromEntries(Object.entries(details).filter(([name]) => name !== 'latencySeconds')) };
}

/** The text of the AUTOMATIC1111 web UI: prompt, negative prompt, then `Name: value` pairs; values with commas or colons are quoted. */
export function a1111Text(parameters: ImageParameters): string {
  const { prompt, negativePrompt, seed, numInferenceSteps, guidanceScale, width, height, scheduler, model, modelDigest, loras } =
    parameters;
  const pairs: readonly (readonly [string, string | number | undefined])[] = [
    ['Steps', numInferenceSteps],
    ['Sampler', samplerNames[scheduler] ?? scheduler],
    ['CFG scale', guidanceScale],
    ['CFG Rescale φ', parameters.guidanceRescale],
    ['Seed', seed.toString()],
    ['Size', `${String(width)}x${String(height)}`],
    ['Model hash', modelDigest?.slice(0, 10)],
    ['Model', model],
    ['LoRA', loras?.map(({ path, weight }) => `${path}:${String(weight)}`).join(', ')],
    ['Version', `sdxl-operator ${parameters.version}`],
  ];
  const line = pairs.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${quoted(String(value))}`])).join(', ');
  const negative = negativePrompt === undefined || negativePrompt === '' ? [] : [`Negative prompt: ${negativePrompt}`];
  return [prompt, ...negative, line].join('\n');
}

const samplerNames: Readonly<Record<string, string>> = {
  EulerDiscreteScheduler: 'Euler',
  EulerAncestralDiscreteScheduler: 'Euler a',
  DDIMScheduler: 'DDIM',
  DPMSolverMultistepScheduler: 'DPM++ 2M',
  UniPCMultistepScheduler: 'UniPC',
  LCMScheduler: 'LCM',
  DDPMScheduler: 'DDPM',
  DEISMultistepScheduler: 'DEIS',
  DPMSolverSinglestepScheduler: 'DPM++ 2S',
  HeunDiscreteScheduler: 'Heun',
  KDPM2DiscreteScheduler: 'DPM2',
  KDPM2AncestralDiscreteScheduler: 'DPM2 a',
  LMSDiscreteScheduler: 'LMS',
  PNDMScheduler: 'PLMS',
  TCDScheduler: 'TCD',
};

function quoted(value: string): string {
  return /[,:\n]/.test(value) ? JSON.stringify(value) : value;
}

/** JSON with everything beyond ASCII escaped, so that any reader of tEXt chunks gets it right. */
function asciiJson(value: JsonValue): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
