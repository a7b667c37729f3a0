/** What the API server, or the way to it, answered instead of what was asked for. */

export interface ApiErrorFields {
  readonly verb: string;
  readonly path: string;
  /** HTTP status; undefined: there was no answer. */
  readonly status?: number | undefined;
  /** The Status object's reason, such as `Conflict`. */
  readonly reason?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  /** Reasons of the Status object's causes. */
  readonly causes?: readonly string[];
}

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly verb: string;
  readonly path: string;
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly causes: readonly string[];

  constructor(message: string, fields: ApiErrorFields, cause?: unknown) {
    super(`${fields.verb} ${fields.path}: ${message}`, cause === undefined ? undefined : { cause });
    this.verb = fields.verb;
    this.path = fields.path;
    this.status = fields.status;
    this.reason = fields.reason;
    this.retryAfterMs = fields.retryAfterMs;
    this.causes = fields.causes ?? [];
  }

  /** Somebody else changed the object first, or it is not the one that was meant. */
  get isConflict(): boolean {
    return this.status === 409;
  }

  /** An object of that name is there already. */
  get isExisting(): boolean {
    return this.status === 409 && this.reason === 'AlreadyExists';
  }

  get isNotFound(): boolean {
    return this.status === 404;
  }

  /** The resourceVersion asked for is too old to be known. */
  get isExpired(): boolean {
    return this.status === 410;
  }

  /** An object of an earlier owner is in the way, and goes by itself. */
  get isLeaving(): boolean {
    return this.reason === 'Leaving';
  }

  /** The namespace is being deleted: nothing can be made in it, and what is there goes. */
  get isOfEndingNamespace(): boolean {
    return this.status === 403 && this.causes.includes('NamespaceTerminating');
  }

  /** The caller has not the right to it, by the words of Kubernetes' authorizer and of its guard of owner references. */
  get isOfRights(): boolean {
    return this.status === 403 && /\bcannot (?:\w+ resource|set )/u.test(this.message);
  }

  /** Refused for what it asks, not for when: the same request is refused again until something else changes. */
  get isRefusal(): boolean {
    if (this.status === undefined) return false;
    // The server says 500 where a webhook that has to be asked does not answer.
    if (this.status === 500) return this.message.includes('failed calling webhook');
    return this.status >= 400 && this.status < 500 && ![401, 408, 409, 410, 429].includes(this.status);
  }
}
