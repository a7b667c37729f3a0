/** What object storage answered instead of what was asked for, in kinds that callers tell apart. */

export type FaultKind =
  /** No such bucket. */
  | 'no-bucket'
  /** No such object. */
  | 'no-object'
  /** Another object stands there by now than the one that was asked for. */
  | 'changed'
  /** Who asks is known, and may not; or is not known. */
  | 'denied'
  /** Nobody gave this process an identity. */
  | 'no-credentials'
  /** No answer, or one that says to try again later. */
  | 'unreachable'
  /** Whatever else the server refuses. */
  | 'refused';

/** Bucket, key and endpoint stand in the message and in the fields. */
export class StorageFault extends Error {
  override readonly name = 'StorageFault';
  readonly kind: FaultKind;
  readonly fields: Readonly<Record<'bucket' | 'key' | 'endpoint', string>>;

  constructor(kind: FaultKind, why: string, fields: StorageFault['fields'], cause: unknown) {
    const { bucket, key, endpoint } = fields;
    super(`bucket ${bucket}, key ${key === '' ? '(none)' : key}, endpoint ${endpoint}: ${why}`, { cause });
    this.kind = kind;
    this.fields = fields;
  }
}

/** Bad luck rather than a fault of the caller's: the same request may succeed. */
export function isPassing(error: unknown): boolean {
  return error instanceof StorageFault && error.kind === 'unreachable';
}

/** By the name and the HTTP status that the client library gives its errors. */
export function classify(error: unknown, fields: StorageFault['fields']): StorageFault {
  const name = error instanceof Error ? error.name : 'Error';
  const status = statusOf(error);
  const said = error instanceof Error ? error.message : String(error);
  const answered = status === undefined ? `${name}: ${said}` : `answered ${String(status)} ${name}${said === name ? '' : `: ${said}`}`;
  return new StorageFault(kindOf(name, status), answered, fields, error);
}

function kindOf(name: string, status: number | undefined): FaultKind {
  if (name === 'CredentialsProviderError' || name === 'TokenProviderError') return 'no-credentials';
  if (name === 'NoSuchBucket') return 'no-bucket';
  if (status === undefined || status === 408 || status === 429 || status >= 500 || name === 'RequestTimeout') return 'unreachable';
  if (status === 404) return 'no-object';
  if (status === 401 || status === 403) return 'denied';
  if (status === 412 || status === 416) return 'changed';
  return 'refused';
}

/** Undefined where no whole answer came. */
function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('$metadata' in error)) return undefined;
  const metadata = error.$metadata;
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return undefined;
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined;
}
