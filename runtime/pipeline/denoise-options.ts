/** What both denoising loops take, on the host and on a device. */
import type { Executor } from '../engine/index.js';
import { SdxlError } from '../errors/index.js';
import type { Mesh } from '../parallel/index.js';
import type { Schedule } from '../schedulers/index.js';
import type { Generator, Tensor } from '../tensor/index.js';
import type { Conditioning } from './conditioning.js';
import type { PipelineObserver } from './events.js';
import type { Guidance } from './guidance.js';
import type { PatchTiming } from './request.js';

export interface DenoiseOptions {
  readonly unet: Executor;
  readonly mesh: Mesh;
  /** Undefined: synchronous. */
  readonly patches: PatchTiming | undefined;
  readonly rank: number;
  readonly schedule: Schedule;
  /** The image's own, after its noise was drawn. */
  readonly generator: Generator;
  readonly conditioning: Conditioning;
  /** Undefined: no guidance, one branch. */
  readonly guidance: Guidance | undefined;
  /** Number of the image in its job, for events. */
  readonly image: number;
  readonly observer: PipelineObserver;
  readonly signal: AbortSignal | undefined;
  /** Told of the latents after each step, `latents.0` being after the first. */
  readonly capture?: ((stage: string, value: Tensor<'f32'>) => void) | undefined;
}

/** The error of a step whose prediction cannot be used; `index` from 0. */
export function notFinite(index: number, steps: number): SdxlError {
  return new SdxlError(
    'IMAGE_NOT_FINITE',
    `the UNet predicted values that are not finite in step ${String(index + 1)} of ${String(steps)}: the weights or the dtype cannot carry this image`,
    { fields: { step: index + 1, steps } },
  );
}
