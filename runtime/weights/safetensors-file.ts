/** One open safetensors file: its tensor table and reads by range. Only the header is read at opening. */
import { open, realpath, stat, type FileHandle } from 'node:fs/promises';
import { SdxlError } from '../errors/index.js';
import { bfloat16ToFloat32, elementCount, float16ToFloat32, float32, type Tensor } from '../tensor/index.js';
import { lengthPrefixBytes, parseHeader, parseHeaderLength, type TensorEntry } from './safetensors-header.js';
import { damagedFileAdvice, errorCode, weightsError } from './weights-error.js';

/** Node reads at most 2 GiB − 1 at once. */
const maxReadBytes = 1 << 30;

export class SafetensorsFile implements AsyncDisposable {
  /** The path as given: the one to show. */
  readonly path: string;
  /** The file behind all links: the one to map, to digest and to compare. The Hugging Face cache links to blobs. */
  readonly realPath: string;
  readonly sizeBytes: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #handle: FileHandle;

  private constructor(
    place: { path: string; realPath: string; sizeBytes: number; handle: FileHandle },
    header: { tensors: ReadonlyMap<string, TensorEntry>; metadata: Readonly<Record<string, string>> },
  ) {
    this.path = place.path;
    this.realPath = place.realPath;
    this.sizeBytes = place.sizeBytes;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
    this.#handle = place.handle;
  }

  /**
   * Opens the file and checks its header. The caller owns the result and closes it.
   * @throws SdxlError MODEL_NOT_FOUND where the file can't be opened, WEIGHTS_INVALID where it is not what it should be.
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const { realPath, handle } = await openPlain(path);
    try {
      const { size } = await handle.stat();
      const prefix = await readRange(handle, path, 0, Math.min(lengthPrefixBytes, size));
      const headerBytes = parseHeaderLength(path, prefix, size);
      const header = parseHeader(path, await readRange(handle, path, lengthPrefixBytes, headerBytes), size);
      return new SafetensorsFile({ path, realPath, sizeBytes: size, handle }, header);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** The entry of `name`. @throws SdxlError WEIGHTS_INVALID where the file has no such tensor. */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry !== undefined) return entry;
    throw weightsError({
      file: this.path,
      tensor: name,
      expected: 'the tensor in the file',
      found: `${String(this.tensors.size)} other tensors`,
      advice: 'the weights belong to another model or config',
    });
  }

  /** Fills `into` with the tensor's bytes from `start` (bytes from the tensor's beginning). Reads nothing beyond the tensor. */
  async read(name: string, into: Uint8Array, start = 0): Promise<void> {
    const { offset, sizeBytes } = this.entry(name);
    if (start < 0 || start + into.byteLength > sizeBytes) {
      throw new RangeError(`bytes ${String(start)} to ${String(start + into.byteLength)} of "${name}", which has ${String(sizeBytes)}`);
    }
    await fill(this.#handle, this.path, offset + start, into, name);
  }

  /** The whole tensor as float32; F16 and BF16 are converted exactly. Makes one copy: meant for small tensors and tests. */
  async readFloat32(name: string): Promise<Tensor<'f32'>> {
    return await decodeFloat32(this.path, this.entry(name), (into) => this.read(name, into));
  }

  /** May be called twice. */
  async close(): Promise<void> {
    await this.#handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A tensor as float32, its bytes read by `read`. WEIGHTS_INVALID where it holds no floats of 16 or 32 bits. */
export async function decodeFloat32(file: string, entry: TensorEntry, read: (into: Uint8Array) => Promise<void>): Promise<Tensor<'f32'>> {
  const { name, dtype, shape } = entry;
  const values = new Float32Array(elementCount(shape));
  if (dtype === 'F32') {
    await read(new Uint8Array(values.buffer));
  } else if (dtype === 'F16' || dtype === 'BF16') {
    const halves = new Uint16Array(values.length);
    await read(new Uint8Array(halves.buffer));
    (dtype === 'F16' ? float16ToFloat32 : bfloat16ToFloat32)(halves, values);
  } else {
    throw weightsError({
      file,
      tensor: name,
      expected: 'dtype F32, F16 or BF16',
      found: dtype,
      advice: 'convert the weights to one of these',
    });
  }
  return float32(shape, values);
}

async function openPlain(path: string): Promise<{ realPath: string; handle: FileHandle }> {
  try {
    const realPath = await realpath(path);
    // A pipe would be waited for.
    if (!(await stat(realPath)).isFile()) {
      throw weightsError({ file: path, expected: 'a file', found: 'something else', advice: 'check its path' });
    }
    return { realPath, handle: await open(realPath, 'r') };
  } catch (cause) {
    if (cause instanceof SdxlError) throw cause;
    throw new SdxlError('MODEL_NOT_FOUND', `${path} can't be opened (${errorCode(cause)}): check its path`, {
      fields: { file: path },
      cause,
    });
  }
}

async function readRange(handle: FileHandle, file: string, position: number, sizeBytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(sizeBytes);
  await fill(handle, file, position, into);
  return into;
}

async function fill(handle: FileHandle, file: string, position: number, into: Uint8Array, tensor?: string): Promise<void> {
  let done = 0;
  while (done < into.byteLength) {
    const length = Math.min(maxReadBytes, into.byteLength - done);
    const { bytesRead } = await handle.read(into, done, length, position + done);
    // The size was checked at opening: the file shrank since.
    if (bytesRead === 0) {
      throw weightsError({
        file,
        ...(tensor === undefined ? {} : { tensor }),
        expected: `${String(into.byteLength)} bytes at ${String(position)}`,
        found: `the end of the file after ${String(done)}`,
        advice: damagedFileAdvice,
      });
    }
    done += bytesRead;
  }
}
