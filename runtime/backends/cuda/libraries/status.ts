/** The one checked call wrapper: what a library's status codes mean, and the error each becomes. */
import { SdxlError, type ErrorCode, type ErrorFields } from '../../../errors/index.js';

export interface StatusCodes {
  /** As people call the library: `cuDNN`. */
  readonly library: string;
  /** The status by name, and what the library itself says of it. */
  describe(status: number): string;
  /** The error a status becomes; see {@link check}. */
  classify(status: number): ErrorCode;
}

const advice: Partial<Record<ErrorCode, string>> = {
  CUDA_OUT_OF_MEMORY: 'lower the image size or the batch, or end other programs on this device',
  CUDA_UNAVAILABLE:
    'install the library whole and of a version that knows the device and its driver, or point SDXL_CUDA_LIBRARY_PATH at one',
  MEMORY_INSUFFICIENT: 'give the process more memory, or end other programs on this machine',
  ENGINE_BUILD_FAILED: 'install another version of the library, or point SDXL_CUDA_LIBRARY_PATH at one',
  CUDA_FAILED: 'the device may have failed or a peer gone: start again',
  INTERNAL: 'this is a defect of this program',
};

/**
 * Throws unless `status` is 0. CUDA_FAILED is what a new process may not meet again (a sticky error, a lost peer);
 * CUDA_OUT_OF_MEMORY, CUDA_UNAVAILABLE and ENGINE_BUILD_FAILED (the library refuses the problem) need another machine or job;
 * INTERNAL is a call that should not have been made.
 */
export function check(
  codes: StatusCodes,
  functionName: string,
  status: number,
  details: { what?: string; fields?: ErrorFields } = {},
): void {
  if (status !== 0) throw statusError(codes, functionName, status, details);
}

export function statusError(
  codes: StatusCodes,
  functionName: string,
  status: number,
  details: { what?: string; fields?: ErrorFields; code?: ErrorCode } = {},
): SdxlError {
  const code = details.code ?? codes.classify(status);
  const what = details.what === undefined ? '' : ` for ${details.what}`;
  const hint = advice[code];
  return new SdxlError(
    code,
    `${functionName} (${codes.library}) failed${what}: ${codes.describe(status)}${hint === undefined ? '' : `; ${hint}`}`,
    { fields: { library: codes.library, function: functionName, status, ...details.fields } },
  );
}
