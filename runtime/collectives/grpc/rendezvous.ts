/** The rendezvous over gRPC: how a rank asks rank 0 for its seat, and how rank 0 serves such a call. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { status, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { SdxlError, type ErrorFields } from '../../errors/index.js';
import type { Fingerprint } from '../communicator.js';
import { backoffMs, createClient, formatAddress, hostOfPeer } from './channel.js';
import { rendezvousTimeout, type Applicant, type Coordinator } from './coordinator.js';
import { asPeerError, failureOf, fromFailure, statusOf } from './failure.js';
import type { JoinCall } from './host.js';
import { protocol, type Address, type JoinEvent, type JoinRequest, type Roster } from './protocol.js';
import { isCertificateFailure, type TlsIdentity } from './tls.js';

/** How long certificates may be refused before it counts. */
const distrustMs = 5_000;

const emptyFingerprint: Fingerprint = { version: '', modelDigest: '', backend: '', dtype: '', mesh: '', plan: '', job: '' };

/** Serves Join: the call is the applicant's seat, and giving up the call gives up the seat. */
export function serveJoin(coordinator: Coordinator, call: JoinCall): void {
  const { rank, worldSize, instance, address, fingerprint } = call.request;
  const applicant: Applicant = {
    rank,
    worldSize,
    instance,
    address: { host: address?.host === '' ? hostOfPeer(call.getPeer()) : (address?.host ?? ''), port: address?.port ?? 0 },
    fingerprint: fingerprint ?? emptyFingerprint,
    waiting: (missing) => call.write({ event: 'waiting', waiting: { missing } }),
    accept: (roster) => {
      call.write({ event: 'roster', roster });
      call.end();
    },
    refuse: (error) => call.emit('error', statusOf(error, 0)),
  };
  call.on('cancelled', () => {
    coordinator.withdraw(applicant);
  });
  coordinator.admit(applicant);
}

/** Rank 0 takes its own seat. */
export function joinLocally(
  coordinator: Coordinator,
  seat: Pick<Applicant, 'rank' | 'worldSize' | 'address' | 'fingerprint'>,
): Promise<Roster> {
  return new Promise((accept, refuse) => {
    coordinator.admit({ ...seat, instance: randomUUID(), waiting: () => undefined, accept, refuse });
  });
}

export interface JoinOptions {
  readonly coordinator: Address;
  readonly request: Omit<JoinRequest, 'instance'>;
  readonly metadata: Metadata;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly tls?: TlsIdentity;
}

/**
 * Asks the coordinator for a seat until it answers: while it is not up, has no DNS name yet or drops the call, the call is
 * made again. Rejects with the coordinator's refusal, with RENDEZVOUS_TIMEOUT, or with the signal's reason.
 */
export async function joinGang(options: JoinOptions): Promise<Roster> {
  const { coordinator, timeoutMs, signal } = options;
  const deadline = Date.now() + timeoutMs;
  const request: JoinRequest = { ...options.request, instance: randomUUID() };
  let missing: readonly number[] | undefined;
  let distrustedSince: number | undefined;
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await callJoin(options, request, deadline, (now) => (missing = now));
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SdxlError) throw error;
      // OpenSSL's messages end with a line break.
      const details = (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/gu, ' ');
      // Something else may answer for a moment while rank 0 is being placed.
      distrustedSince = isCertificateFailure(details) ? (distrustedSince ?? Date.now()) : undefined;
      if (distrustedSince !== undefined && Date.now() - distrustedSince > distrustMs) throw distrusted(coordinator, details, error);
      const waitMs = backoffMs(attempt);
      if (Date.now() + waitMs >= deadline) {
        if (missing !== undefined) throw rendezvousTimeout(missing, timeoutMs);
        throw coordinatorSilent(coordinator, timeoutMs, error);
      }
      // Cut short by the signal, which the loop sees.
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

function callJoin(
  { coordinator, metadata, signal, tls }: JoinOptions,
  request: JoinRequest,
  deadline: number,
  waiting: (missing: readonly number[]) => void,
): Promise<Roster> {
  const { path, requestSerialize, responseDeserialize } = protocol().join;
  const client = createClient(coordinator, tls);
  const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline });
  const cancel = (): void => {
    call.cancel();
  };
  signal.addEventListener('abort', cancel, { once: true });
  return new Promise<Roster>((resolve, reject) => {
    call.on('data', (event: JoinEvent) => {
      switch (event.event) {
        case 'waiting':
          waiting(event.waiting.missing);
          break;
        case 'roster':
          if (isComplete(event.roster, request)) resolve(event.roster);
          else reject(incomplete(event.roster, coordinator));
          break;
        default:
          event satisfies never;
      }
    });
    call.on('error', (error: ServiceError) => {
      reject(refusal(error, coordinator) ?? error);
    });
    call.on('end', () => {
      reject(new Error('the coordinator ended the call without an answer'));
    });
  }).finally(() => {
    signal.removeEventListener('abort', cancel);
    // Once answered there is nothing left to hear; the error this raises has a listener.
    call.cancel();
    client.close();
  });
}

/** The error that makes it pointless to ask again. */
function refusal(error: ServiceError, coordinator: Address): SdxlError | undefined {
  const told = failureOf(error);
  // What the coordinator decides about this rank is this rank's error; what it failed of itself is a peer's.
  if (told !== undefined) return told.code.startsWith('RENDEZVOUS_') ? fromFailure(told) : asPeerError(told, 0);
  const where = formatAddress(coordinator);
  const fields: ErrorFields = { rank: 0, host: coordinator.host, port: coordinator.port };
  switch (error.code) {
    case status.UNAUTHENTICATED:
      return new SdxlError(
        'UNAUTHENTICATED',
        `rank 0 at ${where} refused this rank: ${error.details}: give every rank of the job the same token`,
        { fields, cause: error },
      );
    case status.UNIMPLEMENTED:
      return new SdxlError(
        'RENDEZVOUS_MISMATCH',
        `what answers at ${where} is not the coordinator of a gang of this version: set the coordinator to rank 0's address`,
        { fields, cause: error },
      );
    default:
      return undefined;
  }
}

function distrusted(coordinator: Address, details: string, cause: unknown): SdxlError {
  const where = formatAddress(coordinator);
  return new SdxlError(
    'UNAUTHENTICATED',
    `rank 0 at ${where} and this rank do not accept each other's certificates (${details}): give every rank of the job certificates of one authority, or none`,
    { fields: { rank: 0, host: coordinator.host, port: coordinator.port }, cause },
  );
}

function isComplete({ members }: Roster, { worldSize }: JoinRequest): boolean {
  return members.length === worldSize && members.every(({ rank, address }, index) => rank === index && address !== null);
}

function incomplete({ members }: Roster, coordinator: Address): SdxlError {
  return new SdxlError(
    'PROTOCOL_VIOLATION',
    `rank 0 at ${formatAddress(coordinator)} sent a roster that is not the gang's: ranks ${members.map(({ rank }) => rank).join(', ')}`,
    { fields: { rank: 0, host: coordinator.host, port: coordinator.port } },
  );
}

function coordinatorSilent(coordinator: Address, timeoutMs: number, cause: unknown): SdxlError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SdxlError(
    'RENDEZVOUS_TIMEOUT',
    `rank 0 did not answer at ${formatAddress(coordinator)} within ${String(timeoutMs)} ms (${why}): see why it did not start, ` +
      'or raise the rendezvous timeout',
    { fields: { rank: 0, ranks: [0], timeoutMs, host: coordinator.host, port: coordinator.port }, cause },
  );
}
