/** The weights of one component folder of a diffusers directory: one file, or shards and their index. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import type { Tensor } from '../tensor/index.js';
import { fileDigest, combineDigests, type DigestOptions } from './digest.js';
import { safetensorsDTypes, type SafetensorsDType, type TensorEntry } from './safetensors-header.js';
import { SafetensorsFile } from './safetensors-file.js';
import { parseShardIndex } from './shard-index.js';
import { describeShape, errorCode, weightsError } from './weights-error.js';

/** File name without extension: diffusers models use the first, transformers models the second. */
export type WeightsStem = 'diffusion_pytorch_model' | 'model';

/** A tensor that was asked for and found: what a graph's constant or an engine's initialiser refers to. */
export interface WeightEntry extends TensorEntry {
  /** The file's path as the user knows it. */
  readonly file: string;
  /** The file behind all links. */
  readonly realPath: string;
}

const floatDTypes = ['F32', 'F16', 'BF16'] as const satisfies readonly SafetensorsDType[];

export class WeightsDirectory implements AsyncDisposable {
  readonly directory: string;
  /** The open files: one, or the shards in the order of their names. */
  readonly files: readonly SafetensorsFile[];
  readonly #owner: ReadonlyMap<string, SafetensorsFile>;
  readonly #indexPath: string | undefined;

  private constructor(
    directory: string,
    files: readonly SafetensorsFile[],
    owner: ReadonlyMap<string, SafetensorsFile>,
    indexPath?: string,
  ) {
    this.directory = directory;
    this.files = files;
    this.#owner = owner;
    this.#indexPath = indexPath;
  }

  /**
   * Opens `<stem>.safetensors`, else the shards of `<stem>.safetensors.index.json`. The caller owns the result and closes it.
   * @throws SdxlError MODEL_NOT_FOUND where there are no such weights, WEIGHTS_INVALID where they are not sound.
   */
  static async open(directory: string, options: { readonly stem: WeightsStem }): Promise<WeightsDirectory> {
    const names = await listFiles(directory);
    const single = `${options.stem}.safetensors`;
    const index = `${single}.index.json`;
    if (names.includes(single)) {
      const file = await SafetensorsFile.open(join(directory, single));
      return new WeightsDirectory(directory, [file], new Map([...file.tensors.keys()].map((name) => [name, file])));
    }
    if (names.includes(index)) {
      const { files, owner, indexPath } = await openShards(directory, index, names);
      return new WeightsDirectory(directory, files, owner, indexPath);
    }
    throw notFound(directory, options.stem, names);
  }

  /** Names of all tensors. */
  names(): IterableIterator<string> {
    return this.#owner.keys();
  }

  has(name: string): boolean {
    return this.#owner.has(name);
  }

  /**
   * The tensor `name`, which must have exactly this shape and one of the dtypes (by default the float types of weights).
   * @throws SdxlError WEIGHTS_INVALID with file, tensor, expected and found.
   */
  require(name: string, shape: readonly number[], allowed: readonly SafetensorsDType[] = floatDTypes): WeightEntry {
    const file = this.#owner.get(name);
    const advice = "the weights do not match the model's config.json: fetch both from one revision of the model";
    if (file === undefined) {
      throw weightsError({
        file: this.#indexPath ?? this.files[0]?.path ?? this.directory,
        tensor: name,
        expected: `a tensor ${describeShape(shape)}`,
        found: `no such tensor among ${String(this.#owner.size)}`,
        advice,
      });
    }
    const entry = file.entry(name);
    const fits = entry.shape.length === shape.length && entry.shape.every((dim, axis) => dim === shape[axis]);
    if (!fits) {
      throw weightsError({
        file: file.path,
        tensor: name,
        expected: `shape ${describeShape(shape)}`,
        found: `shape ${describeShape(entry.shape)}`,
        advice,
      });
    }
    if (!allowed.includes(entry.dtype)) {
      throw weightsError({
        file: file.path,
        tensor: name,
        expected: `dtype ${allowed.join(' or ')}`,
        found: entry.dtype,
        advice: 'convert the weights to a supported dtype',
      });
    }
    return { ...entry, file: file.path, realPath: file.realPath };
  }

  /** Fills `into` with the tensor's bytes from `start`. */
  async read(name: string, into: Uint8Array, start = 0): Promise<void> {
    await this.#fileOf(name).read(name, into, start);
  }

  async readFloat32(name: string): Promise<Tensor<'f32'>> {
    return await this.#fileOf(name).readFloat32(name);
  }

  /** A digest of the weights' content: equal for equal bytes wherever they lie. See {@link fileDigest} for what it costs. */
  async digest(options: DigestOptions): Promise<string> {
    const digests: string[] = [];
    for (const file of this.files) digests.push(await fileDigest(file.realPath, options));
    return combineDigests(digests);
  }

  /** Bytes of all tensors: what the component needs at its stored precision. */
  totalBytes(): number {
    return this.files.reduce((sum, file) => [...file.tensors.values()].reduce((part, entry) => part + entry.sizeBytes, sum), 0);
  }

  /** May be called twice. */
  async close(): Promise<void> {
    await closeAll(this.files);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #fileOf(name: string): SafetensorsFile {
    const file = this.#owner.get(name) ?? this.files[0];
    if (file === undefined) throw new Error(`${this.directory} has no weights file`);
    return file;
  }
}

/** The runtime's element type of a stored tensor, or undefined where the runtime has none. */
export function tensorDType(entry: TensorEntry): 'f32' | 'f16' | 'bf16' | 'i32' | 'i64' | undefined {
  const row = safetensorsDTypes[entry.dtype];
  return 'tensor' in row ? row.tensor : undefined;
}

interface Shards {
  readonly files: readonly SafetensorsFile[];
  readonly owner: ReadonlyMap<string, SafetensorsFile>;
  readonly indexPath: string;
}

async function openShards(directory: string, index: string, names: readonly string[]): Promise<Shards> {
  const indexPath = join(directory, index);
  const weightMap = parseShardIndex(indexPath, await readFile(indexPath));
  const shardNames = [...new Set(weightMap.values())].sort();
  const missing = shardNames.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    throw weightsError({
      file: indexPath,
      expected: `${String(shardNames.length)} shards`,
      found: `no ${missing.join(', ')} in ${directory}`,
      advice: 'fetch the missing shards',
    });
  }
  const shards = new Map<string, SafetensorsFile>();
  try {
    for (const name of shardNames) shards.set(name, await SafetensorsFile.open(join(directory, name)));
    return { files: [...shards.values()], owner: assignTensors(indexPath, weightMap, shards), indexPath };
  } catch (error) {
    await closeAll([...shards.values()]);
    throw error;
  }
}

/** Each tensor of the index must lie in its shard, and no tensor in two shards. */
function assignTensors(
  indexPath: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): ReadonlyMap<string, SafetensorsFile> {
  const owner = new Map<string, SafetensorsFile>();
  for (const shard of shards.values()) {
    for (const tensor of shard.tensors.keys()) {
      const first = owner.get(tensor);
      if (first !== undefined) {
        throw weightsError({
          file: shard.path,
          tensor,
          expected: 'each tensor in one shard',
          found: `it in ${first.path} too`,
          advice: 'the shards come from different exports: fetch them all again',
        });
      }
      owner.set(tensor, shard);
    }
  }
  for (const [tensor, name] of weightMap) {
    const shard = shards.get(name);
    if (shard?.tensors.has(tensor) !== true) {
      throw weightsError({
        file: indexPath,
        tensor,
        expected: `it in ${name}`,
        found: owner.has(tensor) ? `it in ${owner.get(tensor)?.path ?? ''}` : 'it in no shard',
        advice: 'index and shards come from different exports: fetch them all again',
      });
    }
  }
  return owner;
}

async function listFiles(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    throw new SdxlError('MODEL_NOT_FOUND', `${directory} can't be read (${errorCode(cause)}): check the model's directory`, {
      fields: { directory },
      cause,
    });
  }
}

function notFound(directory: string, stem: string, names: readonly string[]): SdxlError {
  const weights = names.filter((name) => /\.(safetensors|bin|ckpt|pt|pth|msgpack)(\.index\.json)?$/.test(name)).sort();
  const variant = weights.find((name) => name.startsWith(`${stem}.`) && name.includes('.safetensors'));
  const advice =
    variant !== undefined
      ? `file name variants such as ${variant} are not supported: rename it to ${stem}.safetensors`
      : 'only safetensors in the diffusers layout are supported';
  const found = weights.length > 0 ? weights.join(', ') : 'no weights';
  return new SdxlError(
    'MODEL_NOT_FOUND',
    `${directory}: expected ${stem}.safetensors or ${stem}.safetensors.index.json, found ${found}; ${advice}`,
    { fields: { directory, expected: `${stem}.safetensors`, found } },
  );
}

async function closeAll(files: readonly SafetensorsFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
