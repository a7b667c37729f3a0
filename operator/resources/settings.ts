/** What the operator was started with, as far as children depend on it. */
import { createHmac } from 'node:crypto';
import type { TlsIdentity } from '../../certificates/contract.js';
import { makeIdentity } from '../../certificates/identity.js';
import type { StoredJob } from '../api/index.js';

export interface Settings {
  /** Image of ranks without accelerator, where a job names none. */
  readonly runtimeImage: string;
  /** Image of ranks with an accelerator, where a job names none. */
  readonly acceleratorImage: string;
  /** Key of the ranks' tokens and certificates. */
  readonly tokenKey: Buffer;
}

/** The secret that the ranks of one attempt share: nobody without the key can make it, and no other attempt has it. */
export function rankToken(key: Buffer, jobUid: string, attempt: number): string {
  return createHmac('sha256', key)
    .update(`${jobUid}/${String(attempt)}`)
    .digest('base64url');
}

const dayMs = 86_400_000;
/** How long a gang without a deadline may wait until it forms; certificates are looked at then and never again. */
const patienceDays = 366;

/**
 * Certificates that the ranks of one attempt share. Derived as the token is, with times in whole days: applying them again, in whatever
 * process, changes nothing under pods that have read them.
 */
export function rankIdentity(key: Buffer, { metadata: { uid }, spec }: StoredJob, attempt: number, now: Date): TlsIdentity {
  const today = Math.floor(now.getTime() / dayMs) * dayMs;
  const days = spec.activeDeadlineSeconds === undefined ? patienceDays : Math.ceil((spec.activeDeadlineSeconds * 1000) / dayMs);
  return makeIdentity({
    seed: createHmac('sha256', key)
      .update(`${uid}/${String(attempt)}/certificates`)
      .digest(),
    name: `sdxl ${uid}/${String(attempt)}`.slice(0, 64),
    notBefore: new Date(today - dayMs),
    notAfter: new Date(today + (days + 1) * dayMs),
  });
}
