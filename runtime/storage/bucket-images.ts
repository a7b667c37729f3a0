/**
 * Images in a bucket, named by their URIs. Each is first written as files are, in a folder of the cache, then uploaded, its record first: where the
 * PNG exists, all of it does. The files stay until the server has both; an attempt that finds them there uploads them and makes nothing anew.
 */
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import {
  assertWritable,
  parseSidecar,
  readRecord,
  sidecarPath,
  writeImage,
  type FloatImage,
  type ImageParameters,
  type ImageRecord,
  type ImageStore,
  type StoredImage,
  type WriteOptions,
} from '../image/index.js';
import { Bucket, type BucketPlace } from './bucket.js';
import { parseObjectUri } from './object-uri.js';
import { withPatience, type Patience } from './patience.js';
import { StorageFault, type FaultKind } from './storage-fault.js';

const advice: Readonly<Partial<Record<FaultKind, string>>> = {
  'no-bucket': 'name another bucket, or another endpoint',
  denied: 'whoever these credentials stand for needs s3:PutObject, s3:GetObject and s3:ListBucket there',
  'no-credentials':
    'give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (in a cluster output.s3.credentialsSecret, or a service account with an identity)',
};

export interface BucketImagesOptions extends BucketPlace {
  /** Where images wait until they are uploaded. */
  readonly cacheDirectory: string;
  readonly patience: Patience;
}

export class BucketImages implements ImageStore {
  readonly #bucket: Bucket;
  readonly #folder: string;
  readonly #patience: Patience;

  private constructor(bucket: Bucket, { cacheDirectory, patience }: BucketImagesOptions) {
    this.#bucket = bucket;
    this.#folder = join(cacheDirectory, 'uploads');
    this.#patience = patience;
  }

  static async open(options: BucketImagesOptions): Promise<BucketImages> {
    return new BucketImages(await Bucket.open(options), options);
  }

  /** One folder for each folder of a bucket: names within it are those of the objects. */
  fileOf(uri: string): string {
    const name = basename(keyOf(uri));
    const place = `${this.#bucket.endpoint} ${uri.slice(0, uri.length - name.length)}`;
    return join(this.#folder, createHash('sha256').update(place).digest('hex').slice(0, 16), name);
  }

  async assertWritable(uri: string, signal?: AbortSignal): Promise<void> {
    await assertWritable(this.fileOf(uri));
    await this.#ask(false, signal, async () => {
      await this.#refuseForeignRecord(uri, signal);
      await this.#bucket.probe(keyOf(uri), signal);
    });
  }

  async find(uri: string, signal?: AbortSignal): Promise<StoredImage | undefined> {
    const record = await this.#ask(true, signal, () => this.#uploadedRecord(uri, signal));
    if (record !== undefined) return { record, keep: () => Promise.resolve() };
    const staged = await readRecord(this.fileOf(uri));
    if (staged === undefined) return undefined;
    return { record: staged, keep: (during) => this.#upload(uri, during) };
  }

  async write(
    uri: string,
    image: FloatImage,
    parameters: ImageParameters,
    { keeps, signal }: WriteOptions = {},
  ): Promise<'written' | 'kept'> {
    // Before the server is asked for anything: whatever it answers, the image is not lost.
    await writeImage(this.fileOf(uri), image, parameters, signal === undefined ? {} : { signal });
    const there = keeps === undefined ? undefined : await this.#ask(true, signal, () => this.#uploadedRecord(uri, signal));
    if (there !== undefined && keeps?.(there) === true) {
      await this.#forget(uri);
      return 'kept';
    }
    await this.#upload(uri, signal);
    return 'written';
  }

  close(): void {
    this.#bucket.close();
  }

  /** The record in the bucket, if it is that of the very image beside it. */
  async #uploadedRecord(uri: string, signal: AbortSignal | undefined): Promise<ImageRecord | undefined> {
    const text = await this.#bucket.content(sidecarPath(keyOf(uri)), signal);
    const found = text === undefined ? undefined : parseSidecar(Buffer.from(text).toString());
    if (found?.kind !== 'record') return undefined;
    const head = await this.#bucket.head(keyOf(uri), signal);
    if (head === undefined) return undefined;
    let digest = head.sha256;
    if (digest === undefined) {
      // Somebody copied it here with other means.
      const png = await this.#bucket.content(keyOf(uri), signal);
      digest = png === undefined ? undefined : sha256(png);
    }
    return found.record['sha256'] === digest ? found.record : undefined;
  }

  /** A JSON object of the user's own is not replaced. */
  async #refuseForeignRecord(uri: string, signal: AbortSignal | undefined): Promise<void> {
    const key = sidecarPath(keyOf(uri));
    const text = await this.#bucket.content(key, signal);
    if (text === undefined || parseSidecar(Buffer.from(text).toString()).kind === 'record') return;
    const message = `${uri} can't be written: its parameters go to the key ${key}, where an object is that is no image's record; choose another output or move that object`;
    throw new SdxlError('OUTPUT_UNWRITABLE', message, { fields: { bucket: this.#bucket.name, key, endpoint: this.#bucket.endpoint } });
  }

  /** Both objects, the image last; the files go once the server has both. The same content twice is the same object. */
  async #upload(uri: string, signal: AbortSignal | undefined): Promise<void> {
    const staged = this.fileOf(uri);
    const parts = [
      { file: sidecarPath(staged), key: sidecarPath(keyOf(uri)), type: 'application/json' },
      { file: staged, key: keyOf(uri), type: 'image/png' },
    ];
    await this.#ask(true, signal, () => this.#refuseForeignRecord(uri, signal));
    for (const { file, key, type } of parts) {
      const content = await readFile(file);
      await this.#ask(true, signal, () => this.#bucket.put(key, content, sha256(content), type, signal));
    }
    await this.#forget(uri);
  }

  async #forget(uri: string): Promise<void> {
    const staged = this.fileOf(uri);
    await Promise.allSettled([staged, sidecarPath(staged)].map((file) => rm(file, { force: true })));
  }

  async #ask<T>(patient: boolean, signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T> {
    const patience = patient ? this.#patience : { ...this.#patience, deadlineMs: 0 };
    try {
      return await withPatience(call, isWorthWaiting, patience, signal);
    } catch (error) {
      if (!(error instanceof StorageFault)) throw error;
      const { kind, message, fields } = error;
      if (kind === 'unreachable') {
        const tried = patience.deadlineMs === 0 ? '' : ` in ${String(patience.deadlineMs / 1000)} s`;
        throw new SdxlError('ADDRESS_UNAVAILABLE', `object storage did not take what it was sent${tried}: ${message}`, {
          fields,
          cause: error,
        });
      }
      const more = advice[kind];
      throw new SdxlError('OUTPUT_UNWRITABLE', `object storage refuses: ${message}${more === undefined ? '' : `; ${more}`}`, {
        fields,
        cause: error,
      });
    }
  }
}

/** An identity that is renewed may be late; that there is one was seen before the first image. */
function isWorthWaiting(error: unknown): boolean {
  return error instanceof StorageFault && (error.kind === 'unreachable' || error.kind === 'no-credentials');
}

function keyOf(uri: string): string {
  const name = parseObjectUri(uri);
  if (name === undefined) throw new Error(`${uri} names no object`);
  return name.key;
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
