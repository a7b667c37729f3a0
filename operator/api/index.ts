/**
 * The SdxlJob from an operator's side: its stored form, its conditions, and the names of what it becomes. Derived from the CRD; knows no API server.
 */
export * from './conditions.js';
export * from './names.js';
export * from './sdxl-job.js';
