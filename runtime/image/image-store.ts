/** Where a job's images are kept: in files here, or elsewhere (runtime/storage). */
import type { FloatImage } from './check-image.js';
import { readRecord, type ImageRecord } from './image-record.js';
import type { ImageParameters } from './parameters.js';
import { assertWritable, writeImage } from './write-image.js';

/** Images are named by a path, or by whatever else the store gives images as names. */
export interface ImageStore {
  /** The file that is written first: unfinished ones lie beside it. */
  fileOf(path: string): string;
  /** Finds out before minutes of computing whether {@link write} could write `path` now. @throws SdxlError OUTPUT_UNWRITABLE, ADDRESS_UNAVAILABLE */
  assertWritable(path: string, signal?: AbortSignal): Promise<void>;
  /** The image that an earlier attempt left at `path`, or undefined where image and record are not a pair. */
  find(path: string, signal?: AbortSignal): Promise<StoredImage | undefined>;
  /**
   * Resolves once image and record exist, each whole, with whether they are these.
   * @throws SdxlError IMAGE_NOT_FINITE, IMAGE_FLAT, OUTPUT_UNWRITABLE, ADDRESS_UNAVAILABLE; the signal's reason
   */
  write(path: string, image: FloatImage, parameters: ImageParameters, options?: WriteOptions): Promise<'written' | 'kept'>;
}

export interface WriteOptions {
  /** Of an image that is there by now: whether it stays. */
  readonly keeps?: ((record: ImageRecord) => boolean) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface StoredImage {
  readonly record: ImageRecord;
  /** Makes sure that it stays where it belongs: it is not made again. */
  keep(signal?: AbortSignal): Promise<void>;
}

/** Images as files, named by their paths. */
export const imageFiles: ImageStore = {
  fileOf: (path) => path,
  assertWritable,
  find: async (path) => {
    const record = await readRecord(path);
    return record === undefined ? undefined : { record, keep: () => Promise.resolve() };
  },
  write: async (path, image, parameters, { keeps, signal } = {}) => {
    const there = keeps === undefined ? undefined : await readRecord(path);
    if (there !== undefined && keeps?.(there) === true) return 'kept';
    await writeImage(path, image, parameters, signal === undefined ? {} : { signal });
    return 'written';
  },
};
