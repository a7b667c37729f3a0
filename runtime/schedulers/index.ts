/**
 * Samplers: which noise levels an image passes through, and how a predicted noise moves it from one to the next. One file per
 * sampler, host float32 arithmetic. Knows nothing of models, guidance, latents' layout or devices.
 */
export { createScheduler, openScheduler, supportedSchedulers } from './open-scheduler.js';
export type { Schedule, Scheduler, ScheduleRun } from './scheduler.js';
