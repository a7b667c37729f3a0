/**
 * The contract: the SdxlJob schema (`sdxl.io_sdxljobs.yaml`), and what is derived from it. Types are generated, defaults and
 * rules are the schema's own, so that the command line refuses what an API server refuses. Knows nothing of the runtime, of the
 * operator or of files: it is given text or objects.
 */
export { apiVersion, kind } from './generated/schema.js';
export type { SdxlJob, SdxlJobSpec, SdxlJobSpecPrompt, SdxlJobStatus } from './generated/sdxl-job.js';
export { imageCount } from './image-count.js';
export { formatJobProblem, validateSdxlJob, type JobProblem, type JobValidation, type ValidateOptions } from './validate.js';
