/** A model below a prefix of a bucket. */
import { SdxlError } from '../errors/index.js';
import { Bucket, type BucketPlace } from './bucket.js';
import { objectUri } from './object-uri.js';
import { isModelFile, TransferInterrupted, type FileDigest, type RemoteFile, type RemoteModel } from './remote-model.js';
import { isPassing, StorageFault, type FaultKind } from './storage-fault.js';

const advice: Readonly<Partial<Record<FaultKind, string>>> = {
  'no-bucket': 'name another bucket, or another endpoint',
  'no-object': 'it was there when the model was listed',
  changed: 'the object has been replaced since the model was listed: start again',
  denied: 'whoever these credentials stand for needs s3:ListBucket and s3:GetObject there',
  'no-credentials':
    'give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (in a cluster model.s3.credentialsSecret, or a service account with an identity)',
};

export class BucketModel implements RemoteModel {
  readonly name: string;
  readonly #bucket: Bucket;
  /** Empty, or with a `/` at its end. */
  readonly #prefix: string;

  private constructor(bucket: Bucket, prefix: string) {
    this.#bucket = bucket;
    this.#prefix = prefix === '' ? '' : `${prefix}/`;
    this.name = objectUri({ bucket: bucket.name, key: prefix });
  }

  static async open({ prefix, ...place }: BucketPlace & { readonly prefix: string }): Promise<BucketModel> {
    return new BucketModel(await Bucket.open(place), prefix);
  }

  async list(signal: AbortSignal): Promise<readonly RemoteFile[]> {
    const objects = await this.#ask(() => this.#bucket.list(this.#prefix, signal));
    const found = objects.map(({ key }) => key.slice(this.#prefix.length)).filter(isModelFile);
    if (!found.includes('model_index.json')) {
      const why =
        objects.length === 0
          ? 'no object has that prefix'
          : `none of its ${String(objects.length)} objects is model_index.json: it is no model in diffusers layout`;
      throw this.#notFound(why, this.#fields());
    }
    const files: RemoteFile[] = [];
    for (const path of found) {
      const head = await this.#ask(() => this.#bucket.head(this.#prefix + path, signal));
      if (head === undefined) throw new TransferInterrupted(`${path} was taken away while the model was listed`);
      files.push({ path, sizeBytes: head.sizeBytes, version: head.etag, digest: digestOf(head) });
    }
    return files;
  }

  async read({ path, version }: RemoteFile, offset: number, signal: AbortSignal): ReturnType<RemoteModel['read']> {
    const { start, body } = await this.#ask(() => this.#bucket.read(this.#prefix + path, { offset, etag: version }, signal));
    return { start, chunks: body };
  }

  close(): void {
    this.#bucket.close();
  }

  async #ask<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof StorageFault)) throw error;
      if (isPassing(error)) throw new TransferInterrupted(error.message, { cause: error });
      const more = advice[error.kind];
      throw this.#notFound(more === undefined ? error.message : `${error.message}; ${more}`, error.fields, error);
    }
  }

  #fields(): StorageFault['fields'] {
    return { bucket: this.#bucket.name, key: this.#prefix, endpoint: this.#bucket.endpoint };
  }

  #notFound(why: string, fields: StorageFault['fields'], cause?: unknown): SdxlError {
    return new SdxlError('MODEL_NOT_FOUND', `${this.name} can't be fetched: ${why}`, { fields, cause });
  }
}

function digestOf({ sha256, md5 }: { readonly sha256: string | undefined; readonly md5: string | undefined }): FileDigest | undefined {
  if (md5 !== undefined) return { algorithm: 'md5', value: md5 };
  return sha256 === undefined ? undefined : { algorithm: 'sha256', value: sha256 };
}
