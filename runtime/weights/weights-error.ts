/** The one shape of a weights error: file, tensor, what was expected, what was found, what to do. */
import { SdxlError } from '../errors/index.js';

export interface WeightsProblem {
  readonly file: string;
  readonly tensor?: string;
  readonly expected: string;
  readonly found: string;
  readonly advice: string;
  readonly cause?: unknown;
}

/** Advice for a file whose bytes are not what its format or its source promise. */
export const damagedFileAdvice = 'the file is damaged or incomplete: fetch it again';

export function weightsError(problem: WeightsProblem): SdxlError {
  const { file, tensor, expected, found, advice, cause } = problem;
  const subject = tensor === undefined ? file : `${file}: tensor "${tensor}"`;
  return new SdxlError('WEIGHTS_INVALID', `${subject}: expected ${expected}, found ${found}; ${advice}`, {
    fields: { file, ...(tensor === undefined ? {} : { tensor }), expected, found },
    cause,
  });
}

/** A file that was there when the model was looked at, and now is not. */
export function vanished(file: string, cause: unknown): SdxlError {
  const message = `${file} can't be read any more (${errorCode(cause)}): it was there before; leave the model where it is until it is loaded`;
  return new SdxlError('MODEL_NOT_FOUND', message, { fields: { file }, cause });
}

export function describeShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

export function errorCode(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : String(thrown);
}
