/**
 * Samplers: which noise levels an image passes through, and how a predicted noise moves it from one to the next. A sampler is a
 * file of samplers/ that turns a number of steps into a table of coefficients; linear-step.ts says what they mean and runs them on the host.
 * Knows nothing of models, guidance, latents' layout or devices.
 */
export { drawNoise, historyLength, LinearStepRun, stepOfCall, type ConvertedWeights, type LinearStep } from './linear-step.js';
export { createScheduler, openScheduler, parseSchedulerConfig, supportedSchedulers, type SchedulerChoice } from './open-scheduler.js';
export type { Schedule, Scheduler } from './scheduler.js';
