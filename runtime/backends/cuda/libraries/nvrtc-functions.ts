/** NVRTC's functions (nvrtc.h). */
import type { ErrorCode } from '../../../errors/index.js';
import type { Signatures } from './native-library.js';

export const nvrtcSignatures = {
  nvrtcVersion: ['void *', 'void *'],
  nvrtcGetNumSupportedArchs: ['void *'],
  nvrtcGetSupportedArchs: ['void *'],
  nvrtcCreateProgram: ['void *', 'str', 'str', 'int', 'const char **', 'const char **'],
  nvrtcDestroyProgram: ['void *'],
  nvrtcGetCUBINSize: ['uint64_t', 'void *'],
  nvrtcGetCUBIN: ['uint64_t', 'void *'],
  nvrtcGetProgramLogSize: ['uint64_t', 'void *'],
  nvrtcGetProgramLog: ['uint64_t', 'void *'],
} as const satisfies Signatures;

/** Runs for up to half a second: called on a worker thread. */
export const nvrtcCompileProgram = ['uint64_t', 'int', 'const char **'] as const;

export const nvrtcErrorCompilation = 6;

/** nvrtcResult: memory of the host, builtins that were not found; all else is a call that should not have been made. */
export function classifyNvrtcStatus(status: number): ErrorCode {
  const codes: Readonly<Record<number, ErrorCode>> = { 1: 'MEMORY_INSUFFICIENT', 7: 'CUDA_UNAVAILABLE' };
  return codes[status] ?? 'INTERNAL';
}
