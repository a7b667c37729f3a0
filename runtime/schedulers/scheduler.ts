/**
 * What a sampler is to the pipeline, in three lifetimes: a {@link Scheduler} knows the model's noise schedule, a {@link Schedule}
 * the steps of one job, a `LinearStepRun` the state of one image.
 */
import type { LinearStep } from './linear-step.js';

export interface Scheduler {
  /** The diffusers class, as in scheduler_config.json. */
  readonly className: string;
  /** Timesteps of the training schedule. */
  readonly numTrainTimesteps: number;
  /** @throws SdxlError JOB_INVALID where the number of steps is not possible. */
  setTimesteps(numInferenceSteps: number): Schedule;
}

/** The steps of one job: plain data, constant, and shared by all its images. A step is a call of the UNet here; some samplers make more than were asked for. */
export interface Schedule {
  /** [steps] what the UNet is told, float32; not always integers. */
  readonly timesteps: Float32Array;
  /**
   * [steps + 1] noise levels σ = √((1 − ᾱ)/ᾱ), float32: step i goes from `sigmas[i]` to `sigmas[i + 1]`. For reading; the steps'
   * coefficients follow from them.
   */
  readonly sigmas: Float32Array;
  /** Factor of the standard normal latents before the first step, float32. */
  readonly initNoiseSigma: number;
  /** [steps] what each step does. */
  readonly steps: readonly LinearStep[];
}
