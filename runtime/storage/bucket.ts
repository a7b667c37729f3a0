/** One bucket of a server that speaks S3. Each call is one attempt: who calls decides how patient to be. */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type * as Library from '@aws-sdk/client-s3';
import { classify, StorageFault } from './storage-fault.js';

export interface BucketPlace {
  readonly bucket: string;
  /** Undefined: Amazon S3. Else buckets are parts of the path, as other servers know them. */
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
}

export interface ObjectSummary {
  readonly key: string;
  readonly sizeBytes: number;
  readonly etag: string;
}

export interface ObjectHead {
  readonly sizeBytes: number;
  readonly etag: string;
  /** As the uploader wrote it, which is this project; undefined for others. */
  readonly sha256: string | undefined;
  /** MD5 of the content in hexadecimal, where the server says so much. */
  readonly md5: string | undefined;
}

/** Amazon leads from there to a bucket's own region; other servers take any. */
const defaultRegion = 'us-east-1';
const connectionTimeoutMs = 10_000;
/** Without a byte in either direction. */
const idleTimeoutMs = 30_000;
/** What uploads of this project say of their content. */
const digestName = 'sha256';
const tagName = 'md5';

export class Bucket {
  readonly name: string;
  /** For messages. */
  readonly endpoint: string;
  readonly #client: Library.S3Client;
  readonly #library: typeof Library;

  private constructor(client: Library.S3Client, library: typeof Library, { bucket, endpoint, region = defaultRegion }: BucketPlace) {
    this.#client = client;
    this.#library = library;
    this.name = bucket;
    this.endpoint = endpoint ?? `Amazon S3 (${region})`;
  }

  /** Speaks to nobody yet. The library is loaded here: processes without object storage never pay for it. */
  static async open(place: BucketPlace): Promise<Bucket> {
    const library = await import('@aws-sdk/client-s3');
    const { endpoint, region } = place;
    const client = new library.S3Client({
      region: region ?? defaultRegion,
      ...(endpoint === undefined ? { followRegionRedirects: true } : { endpoint, forcePathStyle: true }),
      maxAttempts: 1,
      requestHandler: { connectionTimeout: connectionTimeoutMs, socketTimeout: idleTimeoutMs },
      // Not every server knows the checksums that the library would add by itself; those that matter are given by name.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
    return new Bucket(client, library, place);
  }

  /** Objects whose keys begin with `prefix`. */
  async list(prefix: string, signal: AbortSignal | undefined): Promise<readonly ObjectSummary[]> {
    const found: ObjectSummary[] = [];
    for (let token: string | undefined; ;) {
      const command = new this.#library.ListObjectsV2Command({ Bucket: this.name, Prefix: prefix, ContinuationToken: token });
      const page = await this.#call(prefix, signal, () => this.#client.send(command, abort(signal)));
      for (const { Key = '', Size = 0, ETag = '' } of page.Contents ?? []) found.push({ key: Key, sizeBytes: Size, etag: ETag });
      token = page.NextContinuationToken;
      if (token === undefined) return found;
    }
  }

  /** Undefined where there is no such object. */
  async head(key: string, signal: AbortSignal | undefined): Promise<ObjectHead | undefined> {
    const command = new this.#library.HeadObjectCommand({ Bucket: this.name, Key: key });
    const head = await this.#find(key, signal, () => this.#client.send(command, abort(signal)));
    if (head === undefined) return undefined;
    const { ContentLength = 0, ETag = '', Metadata = {}, ServerSideEncryption: encryption } = head;
    // The tag of what was uploaded in parts, or is encrypted with a key of the owner's, is no digest of the content.
    const tag = encryption === undefined || encryption === 'AES256' ? /^"?([0-9a-f]{32})"?$/u.exec(ETag)?.[1] : undefined;
    // A tag that is another one than the uploader's belongs to a content that its words are not about.
    const sha256 = tag === undefined || tag === Metadata[tagName] ? Metadata[digestName] : undefined;
    return { sizeBytes: ContentLength, etag: ETag, sha256, md5: tag };
  }

  /** The object's bytes from `offset` on, or from 0 where the server can't do that; rejects with `changed` unless its tag is `etag`. */
  async read(
    key: string,
    { offset, etag }: { readonly offset: number; readonly etag: string },
    signal: AbortSignal | undefined,
  ): Promise<{ readonly start: number; readonly body: Readable }> {
    const command = new this.#library.GetObjectCommand({
      Bucket: this.name,
      Key: key,
      IfMatch: etag,
      ...(offset === 0 ? {} : { Range: `bytes=${String(offset)}-` }),
    });
    const { Body: body, ContentRange: range } = await this.#call(key, signal, () => this.#client.send(command, abort(signal)));
    return { start: range === undefined ? 0 : offset, body: body as Readable };
  }

  /** A whole object; undefined where there is none. */
  async content(key: string, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    const command = new this.#library.GetObjectCommand({ Bucket: this.name, Key: key });
    return await this.#find(key, signal, async () => {
      const { Body } = await this.#client.send(command, abort(signal));
      return await Body?.transformToByteArray();
    });
  }

  /** An object exists whole or not at all; one that was there is replaced. The server compares what arrives with `sha256`, as hexadecimal. */
  async put(key: string, content: Uint8Array, sha256: string, contentType: string, signal: AbortSignal | undefined): Promise<void> {
    const command = new this.#library.PutObjectCommand({
      Bucket: this.name,
      Key: key,
      Body: content,
      ContentLength: content.length,
      ContentType: contentType,
      ChecksumSHA256: Buffer.from(sha256, 'hex').toString('base64'),
      Metadata: { [digestName]: sha256, [tagName]: createHash('md5').update(content).digest('hex') },
    });
    await this.#call(key, signal, () => this.#client.send(command, abort(signal)));
  }

  /** Finds out whether objects of this key may be written, and leaves none: an upload in parts is begun and given up. */
  async probe(key: string, signal: AbortSignal | undefined): Promise<void> {
    const target = { Bucket: this.name, Key: key };
    const { UploadId } = await this.#call(key, signal, () =>
      this.#client.send(new this.#library.CreateMultipartUploadCommand(target), abort(signal)),
    );
    // Who may not even give up what they have begun leaves an upload without parts, which nobody sees and pays for.
    await this.#client.send(new this.#library.AbortMultipartUploadCommand({ ...target, UploadId }), abort(signal)).catch(() => undefined);
  }

  close(): void {
    this.#client.destroy();
  }

  async #find<T>(key: string, signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await this.#call(key, signal, call);
    } catch (error) {
      if (error instanceof StorageFault && error.kind === 'no-object') return undefined;
      throw error;
    }
  }

  async #call<T>(key: string, signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      signal?.throwIfAborted();
      throw classify(error, { bucket: this.name, key, endpoint: this.endpoint });
    }
  }
}

function abort(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}
