/**
 * Failures on the wire: how an error of one rank is told to the others and what it becomes there, and how an error ends a
 * call, as a gRPC status with the whole error in its trailing metadata.
 */
import { Metadata, status, type ServerErrorResponse, type ServiceError } from '@grpc/grpc-js';
import { isErrorCode, SdxlError, type ErrorFields } from '../../errors/index.js';
import { protocol, type Failure } from './protocol.js';

const failureKey = 'sdxl-failure-bin';
/** HTTP/2 headers are limited, and a message is for people. */
const maxMessageLength = 2000;

/** `error`, as the failure of `rank`. */
export function toFailure(rank: number, error: SdxlError): Failure {
  const { code, message, fields, cause } = error.toJSON();
  const clip = (text: string): string => (text.length > maxMessageLength ? `${text.slice(0, maxMessageLength)}…` : text);
  return { rank, code, message: clip(message), fields: clip(JSON.stringify(fields)), cause: clip(cause ?? '') };
}

/** The very error that was sent; what no catalogue knows becomes INTERNAL. */
export function fromFailure(failure: Failure): SdxlError {
  return new SdxlError(isErrorCode(failure.code) ? failure.code : 'INTERNAL', failure.message, {
    fields: parseFields(failure.fields),
    ...(failure.cause === '' ? {} : { cause: failure.cause }),
  });
}

/**
 * What a failure told by rank `reporter` is to this rank. A lost peer is lost for everyone: the same PEER_LOST, naming the
 * same rank. Anything else is PEER_ABORTED, naming the rank that failed, with `causeCode`, the rank the cause itself blames
 * (`causeRank`: who did not deliver, whose message did not fit) and the cause.
 */
export function asPeerError(failure: Failure, reporter: number): SdxlError {
  const cause = fromFailure(failure);
  if (cause.code === 'PEER_LOST') {
    const message = `${cause.message}, as rank ${String(reporter)} reports`;
    return new SdxlError('PEER_LOST', message, { fields: { ...cause.fields, reportedBy: reporter }, cause });
  }
  return new SdxlError('PEER_ABORTED', `rank ${String(failure.rank)} failed: ${cause.code}: ${cause.message}`, {
    fields: {
      rank: failure.rank,
      causeCode: cause.code,
      retriable: cause.retriable,
      ...(cause.fields['rank'] === undefined ? {} : { causeRank: cause.fields['rank'] }),
    },
    cause,
  });
}

/** Ends a server's call with `error`. */
export function statusOf(error: SdxlError, rank: number): ServerErrorResponse {
  const metadata = new Metadata();
  metadata.set(failureKey, protocol().failure.serialize(toFailure(rank, error)));
  // Status details travel percent-encoded in one header: the whole error is in the metadata.
  return Object.assign(new Error(error.code), { code: statusCode(error), details: error.code, metadata });
}

/** The failure a server ended the call with, if it is one of this protocol. */
export function failureOf(error: ServiceError): Failure | undefined {
  const [bytes] = error.metadata.get(failureKey);
  return Buffer.isBuffer(bytes) ? protocol().failure.deserialize(bytes) : undefined;
}

function statusCode(error: SdxlError): status {
  switch (error.code) {
    case 'UNAUTHENTICATED':
      return status.UNAUTHENTICATED;
    case 'RENDEZVOUS_TIMEOUT':
      return status.DEADLINE_EXCEEDED;
    case 'RENDEZVOUS_MISMATCH':
      return status.INVALID_ARGUMENT;
    case 'RENDEZVOUS_REFUSED':
      return status.FAILED_PRECONDITION;
    default:
      return status.ABORTED;
  }
}

function parseFields(json: string): ErrorFields {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    // Clipped or foreign: the message alone must do.
    return {};
  }
  const fields: Record<string, ErrorFields[string]> = {};
  if (typeof parsed !== 'object' || parsed === null) return fields;
  for (const [name, value] of Object.entries(parsed as Record<string, unknown>)) {
    if (isField(value)) fields[name] = value;
  }
  return fields;
}

function isField(value: unknown): value is ErrorFields[string] {
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string' || typeof item === 'number');
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
