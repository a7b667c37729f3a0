/**
 * Tensors of a component that no file holds as they are: merged with adapters, or stored transposed. They are made once, in fp32,
 * and kept in the cache directory as a safetensors file in the backend's element type, under a digest of everything they are made
 * from; a backend then reads them in place like any other weight. What is not changed is never copied.
 */
import { createHash } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { ensureDirectory, removeAbandoned } from '../files/index.js';
import { float32ToFloat16 } from '../tensor/index.js';
import {
  describeShape,
  fileDigest,
  SafetensorsFile,
  weightsError,
  writeSafetensors,
  type TensorToWrite,
  type WeightsDirectory,
} from '../weights/index.js';

/** Raised when what the files hold changes; part of every name. */
const overlayFormat = 1;

export interface DerivedWeightsOptions {
  readonly cacheDirectory: string;
  /** What the backend computes in. */
  readonly dtype: 'f32' | 'f16';
  readonly signal?: AbortSignal;
  /** Told before tensors are made, which takes a while; and of a file in the cache that is damaged and made again. */
  readonly onNote?: (note: string) => void;
}

/** A change of one tensor: adds to its values in place. */
export interface Delta {
  /** Everything it depends on, as text: the same text means the same numbers. `cacheDirectory`: where digests are remembered. */
  describe(cacheDirectory: string): Promise<string>;
  addTo(values: Float32Array): Promise<void>;
}

export class DerivedWeights {
  readonly #component: string;
  readonly #weights: WeightsDirectory;
  /** By the tensor's name: the stored tensor it is the transpose of. */
  readonly #transposed = new Map<string, string>();
  readonly #deltas = new Map<string, Delta[]>();

  constructor(component: string, weights: WeightsDirectory) {
    this.#component = component;
    this.#weights = weights;
  }

  /** `name` `[n, m]` is the transpose of the stored `[m, n]` tensor. */
  transpose(name: string, stored: string): void {
    this.#transposed.set(name, stored);
  }

  /** The shape `name` has or will have. */
  shapeOf(name: string): readonly number[] | undefined {
    const stored = this.#transposed.get(name);
    return stored === undefined ? this.#weights.shapeOf(name) : this.#weights.shapeOf(stored)?.toReversed();
  }

  /** Names of all tensors, those to be made included. */
  names(): string[] {
    return [...new Set([...this.#weights.names(), ...this.#transposed.keys()])];
  }

  add(name: string, delta: Delta): void {
    this.#deltas.set(name, [...(this.#deltas.get(name) ?? []), delta]);
  }

  /**
   * Lays the tensors over the component's weights, made now or found in the cache. To be called once, before engines are prepared.
   * @throws SdxlError WEIGHTS_INVALID, ENGINE_CACHE_UNWRITABLE
   */
  async materialize(options: DerivedWeightsOptions): Promise<void> {
    const names = [...new Set([...this.#transposed.keys(), ...this.#deltas.keys()])].sort();
    if (names.length === 0) return;
    const { cacheDirectory, dtype, onNote = () => undefined } = options;
    const folder = join(cacheDirectory, 'weights');
    const path = join(folder, `${await this.#key(names, options)}.safetensors`);
    const found = await findOverlay(path, cacheDirectory, onNote);
    if (found !== undefined) {
      this.#weights.overlay(found);
      return;
    }
    onNote(`making ${String(names.length)} merged tensors of ${this.#component}`);
    const tensors = names.map((name): TensorToWrite => {
      const shape = this.shapeOf(name) ?? [];
      return { name, dtype: dtype === 'f32' ? 'F32' : 'F16', shape, data: () => this.#pieces(name, options) };
    });
    try {
      await ensureDirectory(folder);
      await writeSafetensors(path, tensors, { format: 'pt', component: this.#component });
      await publishRecord(path, await fileDigest(path, { cacheDirectory }));
      await removeAbandoned(folder, { isTemporary: (name) => temporaryName.test(name), justWritten: recordOf(path) });
    } catch (cause) {
      if (cause instanceof SdxlError || options.signal?.aborted === true) throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new SdxlError(
        'ENGINE_CACHE_UNWRITABLE',
        `cannot write merged weights to ${folder}: ${reason}; choose another cache with --cache-dir`,
        { fields: { directory: folder }, cause },
      );
    }
    this.#weights.overlay(await SafetensorsFile.open(path));
  }

  /** A name for the result: a digest of the stored weights, of every change and of the element type. */
  async #key(names: readonly string[], { cacheDirectory, dtype, signal }: DerivedWeightsOptions): Promise<string> {
    const digest = createHash('sha256');
    const base = await this.#weights.digest({ cacheDirectory, ...(signal === undefined ? {} : { signal }) });
    digest.update(JSON.stringify([overlayFormat, dtype, this.#component, base]));
    for (const name of names) {
      const deltas = await Promise.all((this.#deltas.get(name) ?? []).map((delta) => delta.describe(cacheDirectory)));
      digest.update(JSON.stringify([name, this.#transposed.get(name) ?? null, deltas]));
    }
    return digest.digest('hex').slice(0, 32);
  }

  async *#pieces(name: string, { dtype, signal }: DerivedWeightsOptions): AsyncIterable<Uint8Array> {
    signal?.throwIfAborted();
    const values = await this.#base(name);
    for (const delta of this.#deltas.get(name) ?? []) await delta.addTo(values);
    if (!values.every(Number.isFinite)) {
      throw weightsError({
        file: this.#weights.directory,
        tensor: name,
        expected: 'finite numbers once the adapters are merged in',
        found: 'others',
        advice: 'an adapter is damaged or its weight too large',
      });
    }
    yield dtype === 'f32' ? new Uint8Array(values.buffer) : new Uint8Array(float32ToFloat16(values).buffer);
  }

  async #base(name: string): Promise<Float32Array> {
    const stored = this.#transposed.get(name);
    if (stored === undefined) return (await this.#weights.readFloat32(name)).data;
    const { shape, data } = await this.#weights.readFloat32(stored);
    const [rows = 0, columns = 0] = shape;
    if (shape.length !== 2) throw new Error(`${stored} ${describeShape(shape)} is no matrix`);
    const values = new Float32Array(data.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) values[column * rows + row] = data[row * columns + column] ?? 0;
    }
    return values;
  }
}

/** An overlay of the cache whose content is what was written; otherwise it is taken away. */
async function findOverlay(path: string, cacheDirectory: string, onNote: (note: string) => void): Promise<SafetensorsFile | undefined> {
  // Written last: without it there is nothing to find.
  const expected = await readFile(recordOf(path), 'utf8').catch(() => undefined);
  if (expected === undefined) return undefined;
  try {
    const digest = await fileDigest(path, { cacheDirectory });
    if (digest === expected.trim()) return await SafetensorsFile.open(path);
    onNote(`${path} is damaged and made again: its digest is ${digest}, not ${expected.trim()}`);
  } catch (error) {
    onNote(`${path} is damaged and made again: ${error instanceof Error ? error.message : String(error)}`);
  }
  await rm(recordOf(path), { force: true });
  return undefined;
}

/** Of weights, and of their record, before they get their names. */
const temporaryName = /\.tmp$|\.sha256\.\d+\.\d+$/u;

async function publishRecord(path: string, digest: string): Promise<void> {
  const temporary = `${recordOf(path)}.${String(process.pid)}.${String(process.hrtime.bigint())}`;
  await writeFile(temporary, `${digest}\n`);
  await rename(temporary, recordOf(path));
}

function recordOf(path: string): string {
  return `${path}.sha256`;
}
