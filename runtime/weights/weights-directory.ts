/**
 * The weights of one component, by the names its graph knows them by: the one source of a tensor's bytes, whatever format they are
 * stored in. Usually a tensor lies in its file as it is; it may also be a part of a stored one under another name and shape, and a
 * tensor that no file holds (merged, transposed) is laid over the others from a file of its own.
 */
import type { Tensor } from '../tensor/index.js';
import { closeAll, openComponentFiles, type WeightsStem } from './component-files.js';
import { combineDigests, fileDigest, type DigestOptions } from './digest.js';
import { decodeFloat32, type SafetensorsFile } from './safetensors-file.js';
import { safetensorsDTypes, type SafetensorsDType, type TensorEntry } from './safetensors-header.js';
import { describeShape, weightsError } from './weights-error.js';

/** A tensor that was asked for and found: what a graph's constant or an engine's initialiser refers to. */
export interface WeightEntry extends TensorEntry {
  /** The file's path as the user knows it. */
  readonly file: string;
  /** The file behind all links. */
  readonly realPath: string;
}

/** A tensor that is a part of a stored one: its elements from `firstElement` on, in `shape`. */
export interface WeightView {
  readonly name: string;
  readonly stored: string;
  readonly shape: readonly number[];
  readonly firstElement: number;
}

interface Place {
  readonly file: SafetensorsFile;
  readonly stored: TensorEntry;
  readonly entry: TensorEntry;
}

const floatDTypes = ['F32', 'F16', 'BF16'] as const satisfies readonly SafetensorsDType[];

export class WeightsDirectory implements AsyncDisposable {
  /** The folder or the file they were opened from. */
  readonly directory: string;
  /** The open files: one, or the shards in the order of their names. */
  readonly files: readonly SafetensorsFile[];
  readonly #places: Map<string, Place>;
  readonly #indexPath: string | undefined;
  readonly #overlays: SafetensorsFile[] = [];

  private constructor(directory: string, files: readonly SafetensorsFile[], places: Map<string, Place>, indexPath?: string) {
    this.directory = directory;
    this.files = files;
    this.#places = places;
    this.#indexPath = indexPath;
  }

  /**
   * Opens `<stem>.safetensors`, else the shards of `<stem>.safetensors.index.json`. The files of `variant` go before the plain ones;
   * without it a variant is taken where it alone is there. The caller owns the result and closes it.
   * @throws SdxlError MODEL_NOT_FOUND where there are no such weights, WEIGHTS_INVALID where they are not sound.
   */
  static async open(directory: string, options: { readonly stem: WeightsStem; readonly variant?: string }): Promise<WeightsDirectory> {
    const { files, owner, indexPath } = await openComponentFiles(directory, options.stem, options.variant);
    const places = new Map([...owner].map(([name, file]) => [name, placeOf(file, name)]));
    return new WeightsDirectory(directory, files, places, indexPath);
  }

  /**
   * Parts of one file as a component's weights. Several components may share the file, which is closed with the first of them.
   * @throws SdxlError WEIGHTS_INVALID where a stored tensor is missing or too small for its view.
   */
  static viewing(file: SafetensorsFile, views: readonly WeightView[]): WeightsDirectory {
    return new WeightsDirectory(file.path, [file], new Map(views.map((view) => [view.name, viewOf(file, view)])));
  }

  /** Names of all tensors. */
  names(): IterableIterator<string> {
    return this.#places.keys();
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  /** Its shape, where there is such a tensor. */
  shapeOf(name: string): readonly number[] | undefined {
    return this.#places.get(name)?.entry.shape;
  }

  /** Lets the tensors of `overlay` take the place of those of the same name; it is closed with this object. */
  overlay(overlay: SafetensorsFile): void {
    this.#overlays.push(overlay);
    for (const name of overlay.tensors.keys()) this.#places.set(name, placeOf(overlay, name));
  }

  /**
   * The tensor `name`, which must have exactly this shape and one of the dtypes (by default the float types of weights).
   * @throws SdxlError WEIGHTS_INVALID with file, tensor, expected and found.
   */
  require(name: string, shape: readonly number[], allowed: readonly SafetensorsDType[] = floatDTypes): WeightEntry {
    const place = this.#places.get(name);
    const advice = "the weights do not match the model's config.json: fetch both from one revision of the model";
    if (place === undefined) {
      throw weightsError({
        file: this.#indexPath ?? this.files[0]?.path ?? this.directory,
        tensor: name,
        expected: `a tensor ${describeShape(shape)}`,
        found: `no such tensor among ${String(this.#places.size)}`,
        advice,
      });
    }
    const { file, entry, stored } = place;
    const tensor = stored.name === name ? name : `${stored.name}, as ${name}`;
    const fits = entry.shape.length === shape.length && entry.shape.every((dim, axis) => dim === shape[axis]);
    if (!fits) {
      throw weightsError({
        file: file.path,
        tensor,
        expected: `shape ${describeShape(shape)}`,
        found: `shape ${describeShape(entry.shape)}`,
        advice,
      });
    }
    if (!allowed.includes(entry.dtype)) {
      throw weightsError({
        file: file.path,
        tensor,
        expected: `dtype ${allowed.join(' or ')}`,
        found: entry.dtype,
        advice: 'convert the weights to a supported dtype',
      });
    }
    return { ...entry, file: file.path, realPath: file.realPath };
  }

  /** Fills `into` with the tensor's bytes from `start`. */
  async read(name: string, into: Uint8Array, start = 0): Promise<void> {
    const { file, stored, entry } = this.#placeOf(name);
    if (start < 0 || start + into.byteLength > entry.sizeBytes) {
      throw new RangeError(
        `bytes ${String(start)} to ${String(start + into.byteLength)} of "${name}", which has ${String(entry.sizeBytes)}`,
      );
    }
    await file.read(stored.name, into, entry.offset - stored.offset + start);
  }

  async readFloat32(name: string): Promise<Tensor<'f32'>> {
    const { file, entry } = this.#placeOf(name);
    return await decodeFloat32(file.path, entry, (into) => this.read(name, into));
  }

  /**
   * A digest of the stored weights' content: equal for equal bytes wherever they lie. What is laid over them follows from them and
   * is not counted. See {@link fileDigest} for what it costs.
   */
  async digest(options: DigestOptions): Promise<string> {
    const digests: string[] = [];
    for (const file of this.files) digests.push(await fileDigest(file.realPath, options));
    return combineDigests(digests);
  }

  /** Bytes of all tensors: what the component needs at its stored precision. */
  totalBytes(): number {
    return [...this.#places.values()].reduce((sum, { entry }) => sum + entry.sizeBytes, 0);
  }

  /** May be called twice. */
  async close(): Promise<void> {
    await closeAll([...this.files, ...this.#overlays]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #placeOf(name: string): Place {
    const place = this.#places.get(name);
    if (place !== undefined) return place;
    throw weightsError({
      file: this.#indexPath ?? this.files[0]?.path ?? this.directory,
      tensor: name,
      expected: 'the tensor',
      found: `${String(this.#places.size)} other tensors`,
      advice: 'the weights belong to another model or config',
    });
  }
}

/** The runtime's element type of a stored tensor, or undefined where the runtime has none. */
export function tensorDType(entry: TensorEntry): 'f32' | 'f16' | 'bf16' | 'i32' | 'i64' | undefined {
  const row = safetensorsDTypes[entry.dtype];
  return 'tensor' in row ? row.tensor : undefined;
}

function placeOf(file: SafetensorsFile, name: string): Place {
  const stored = file.entry(name);
  return { file, stored, entry: stored };
}

function viewOf(file: SafetensorsFile, { name, stored: storedName, shape, firstElement }: WeightView): Place {
  const stored = file.entry(storedName);
  const elementBytes = safetensorsDTypes[stored.dtype].sizeBytes;
  const sizeBytes = shape.reduce((product, dim) => product * dim, elementBytes);
  const offset = stored.offset + firstElement * elementBytes;
  if (offset + sizeBytes > stored.offset + stored.sizeBytes) {
    throw weightsError({
      file: file.path,
      tensor: storedName,
      expected: `${describeShape(shape)} from element ${String(firstElement)} on, for ${name}`,
      found: `shape ${describeShape(stored.shape)}`,
      advice: 'the checkpoint belongs to another model',
    });
  }
  return { file, stored, entry: { name, dtype: stored.dtype, shape, offset, sizeBytes } };
}
