/** What the operator was started with, as far as children depend on it. */
import { createHmac } from 'node:crypto';

export interface Settings {
  /** Image of ranks without accelerator, where a job names none. */
  readonly runtimeImage: string;
  /** Image of ranks with an accelerator, where a job names none. */
  readonly acceleratorImage: string;
  /** Key of the ranks' tokens. */
  readonly tokenKey: Buffer;
}

/** The secret that the ranks of one attempt share: nobody without the key can make it, and no other attempt has it. */
export function rankToken(key: Buffer, jobUid: string, attempt: number): string {
  return createHmac('sha256', key)
    .update(`${jobUid}/${String(attempt)}`)
    .digest('base64url');
}
