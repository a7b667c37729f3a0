/** What a job becomes: pure functions from an SdxlJob to the objects of one attempt. Knows no API server, and nothing of what has become of them. */
export { type Child } from './child.js';
export { attemptChildren } from './gang.js';
export { runtimeJob } from './runtime-job.js';
export { rankToken, type Settings } from './settings.js';
