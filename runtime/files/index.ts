/** What Node's file system calls leave to be wished for. On the ground floor: knows nothing of what is stored. */
export { ensureDirectory } from './ensure-directory.js';
export { removeAbandoned } from './remove-abandoned.js';
export { isSystemError, writingAdvice, type SystemError } from './system-error.js';
