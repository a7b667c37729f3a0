/**
 * From a prompt to an image, on one rank of a mesh: opens the model, plans its networks, encodes, denoises, decodes, writes.
 * Sees engines and communicators by their interfaces only; knows neither which backend computes nor how ranks reach each other.
 */
export { buildEngines } from './build.js';
export { componentSizes } from './component-sizes.js';
export { planComponents, type ComponentPlan, type ModelComponents } from './components.js';
export type { PipelineEvent, PipelineObserver, Stage } from './events.js';
export { runJob, type JobOptions } from './job.js';
export { estimateMemory, type MemoryEstimate } from './memory.js';
export { Model } from './model.js';
export type { ModelSource } from './model-source.js';
export { contextLength } from './weighted-prompt.js';
export { checkJob, checkRequest, Pipeline, type GeneratedImage, type PipelineOptions } from './pipeline.js';
export {
  imagePath,
  type CropOffset,
  type ImageRequest,
  type JobRequest,
  requestOf,
  type PatchTiming,
  type PixelSize,
  type PromptRequest,
} from './request.js';
export { reportOperation } from './turns.js';
