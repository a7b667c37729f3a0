/** Compiled kernels on disk, by the digest of everything that went into them. */
import { createHash, randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digest } from '../../../engine/index.js';
import { SdxlError } from '../../../errors/index.js';
import { ensureDirectory } from '../../../files/index.js';
import type { KernelProgram, Nvrtc } from './nvrtc.js';

const digestBytes = 32;

export function cubinKey(program: KernelProgram, nvrtcVersion: string): string {
  const sorted = (record: Readonly<Record<string, string | number>> = {}): unknown =>
    Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  const { source, architecture, options = [] } = program;
  return digest(JSON.stringify([nvrtcVersion, architecture, source, sorted(program.defines), sorted(program.headers), options])).slice(
    0,
    32,
  );
}

export class CubinCache {
  readonly directory: string;
  readonly #onDamage: (reason: string) => void;

  /** The directory is created on the first publication. `onDamage` is told of files that were damaged and are made again. */
  constructor(directory: string, onDamage: (reason: string) => void) {
    this.directory = directory;
    this.#onDamage = onDamage;
  }

  /** From the cache, or compiled and published. @throws as {@link Nvrtc.compile}, and ENGINE_CACHE_UNWRITABLE. */
  async compile(nvrtc: Nvrtc, program: KernelProgram, signal?: AbortSignal): Promise<Uint8Array> {
    const path = join(this.directory, `${cubinKey(program, nvrtc.version)}.cubin`);
    const cached = await this.find(path);
    if (cached !== undefined) return cached;
    const cubin = await nvrtc.compile(program, signal);
    await this.publish(path, cubin);
    return cubin;
  }

  /** A file is its content's digest and the content. */
  async find(path: string): Promise<Uint8Array | undefined> {
    const file = await readFile(path).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw this.#unusable('read', error);
    });
    if (file === undefined) return undefined;
    const content = file.subarray(digestBytes);
    if (sha256(content).equals(file.subarray(0, digestBytes))) return content;
    this.#onDamage(`${path} does not match its digest`);
    return undefined;
  }

  async publish(path: string, cubin: Uint8Array): Promise<void> {
    const staging = `${path}.${randomUUID()}`;
    try {
      await ensureDirectory(this.directory);
      await writeFile(staging, Buffer.concat([sha256(cubin), cubin]), { flag: 'wx', flush: true });
      await rename(staging, path);
    } catch (cause) {
      await rm(staging, { force: true }).catch(() => undefined);
      throw this.#unusable('write', cause);
    }
  }

  #unusable(action: string, cause: unknown): SdxlError {
    return new SdxlError(
      'ENGINE_CACHE_UNWRITABLE',
      `cannot ${action} the kernel cache ${this.directory}: ${cause instanceof Error ? cause.message : String(cause)}; choose another with --cache-dir`,
      { fields: { directory: this.directory }, cause },
    );
  }
}

function sha256(content: Uint8Array): Buffer {
  return createHash('sha256').update(content).digest();
}
