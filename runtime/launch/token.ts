/** The gang's shared secret: read from a file that the operator mounts, or made up where all ranks are children of one launcher. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { SdxlError } from '../errors/index.js';

const minLength = 16;
/** gRPC carries it as a header. */
const printable = /^[\x21-\x7e]+$/u;

export function randomToken(): string {
  return randomBytes(32).toString('base64url');
}

/** @throws SdxlError USAGE naming the file; never with its content. */
export async function readToken(path: string | undefined): Promise<string> {
  const refuse = (problem: string, cause?: unknown): SdxlError =>
    new SdxlError(
      'USAGE',
      `SDXL_JOB_TOKEN_FILE ${problem}: give every rank of the job a file with the same secret of at least ${String(minLength)} characters`,
      {
        fields: { variable: 'SDXL_JOB_TOKEN_FILE', ...(path === undefined ? {} : { value: path }) },
        cause,
      },
    );
  if (path === undefined) throw refuse('is not set, and the ranks of this gang are started apart');
  const content = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw refuse(`names ${path}, which can't be read (${cause instanceof Error ? cause.message : String(cause)})`, cause);
  });
  const token = content.trim();
  if (token.length < minLength) throw refuse(`names ${path}, whose content is ${token === '' ? 'empty' : 'too short'}`);
  if (!printable.test(token)) throw refuse(`names ${path}, whose content is not one line of printable ASCII`);
  return token;
}
