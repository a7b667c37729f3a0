/**
 * What a sampler is to the pipeline, in three lifetimes: a {@link Scheduler} knows the model's noise schedule, a {@link Schedule}
 * the steps of one job, a {@link ScheduleRun} the state of one image. Data are host float32 in any shape; arithmetic is float32.
 */
import type { Generator } from '../tensor/index.js';

export interface Scheduler {
  /** The diffusers class, as in scheduler_config.json. */
  readonly className: string;
  /** Timesteps of the training schedule: the most steps that can be asked for. */
  readonly numTrainTimesteps: number;
  /** @throws SdxlError JOB_INVALID where the number of steps is not possible. */
  setTimesteps(numInferenceSteps: number): Schedule;
}

/** The steps of one job: constant, and shared by all its images. */
export interface Schedule {
  /** [steps] what the UNet is told; not always integers. */
  readonly timesteps: Float32Array;
  /** [steps + 1] noise levels: step i goes from `sigmas[i]` to `sigmas[i + 1]`. */
  readonly sigmas: Float32Array;
  /** Factor of the standard normal latents before the first step. */
  readonly initNoiseSigma: number;
  /** Starts an image. Samplers that add noise draw it from the image's own generator. */
  begin(generator?: Generator): ScheduleRun;
}

/** One image: `step` is called once for every index, in order. `into` may be the sample itself. */
export interface ScheduleRun {
  /** The UNet's input for step `index`. */
  scaleModelInput(sample: Float32Array, index: number, into?: Float32Array): Float32Array;
  /** The sample after step `index`, from the guided model output. */
  step(modelOutput: Float32Array, index: number, sample: Float32Array, into?: Float32Array): Float32Array;
}
