/** What both denoising loops take, on the host and on a device. */
import type { Executor } from '../engine/index.js';
import { SdxlError } from '../errors/index.js';
import type { Mesh } from '../parallel/index.js';
import { stepOfCall, type Schedule } from '../schedulers/index.js';
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
  /** As asked for, which is what observers and errors count; the schedule may have more. */
  readonly numInferenceSteps: number;
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

/** Of how many steps an index of the schedule, from 0, is which. */
export function stepAt(
  index: number,
  { schedule, numInferenceSteps: steps }: Pick<DenoiseOptions, 'schedule' | 'numInferenceSteps'>,
): { readonly step: number; readonly steps: number } {
  return { step: stepOfCall(index + 1, schedule.steps.length, steps), steps };
}

/** The error of a step whose prediction cannot be used. */
export function notFinite({ step, steps }: { readonly step: number; readonly steps: number }): SdxlError {
  return new SdxlError(
    'IMAGE_NOT_FINITE',
    `the UNet predicted values that are not finite in step ${String(step)} of ${String(steps)}: the weights or the dtype cannot carry this image`,
    { fields: { step, steps } },
  );
}
