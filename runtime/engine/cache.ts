/**
 * The engine cache: one immutable folder per key, published by atomic rename, checked file by file when found. Two processes may
 * build the same engine at once; the first rename wins and the other's copy is dropped, so no lock is needed on shared volumes.
 */
import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { ensureDirectory, removeAbandoned } from '../files/index.js';

/** Raised when the layout of cached engines changes; part of every key. */
const cacheFormat = 1;
const manifestName = 'manifest.json';

interface Manifest {
  readonly format: number;
  /** What the key was made of, for people who look into the cache. */
  readonly fields: Readonly<Record<string, string>>;
  readonly files: Readonly<Record<string, { readonly sizeBytes: number; readonly sha256: string }>>;
}

/** The key of an engine: a digest over everything that could change it. */
export function engineKey(fields: Readonly<Record<string, string>>): string {
  const canonical = JSON.stringify([cacheFormat, ...Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1))]);
  return digest(canonical).slice(0, 32);
}

export function digest(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

export class EngineCache {
  readonly root: string;

  /** `root` is created on the first publication. */
  constructor(root: string) {
    this.root = root;
  }

  directoryOf(key: string): string {
    return join(this.root, 'engines', key);
  }

  /** The engine's files, or undefined where it is not cached or is damaged (`onDamage` is told what, and it is taken away). */
  async find(key: string, onDamage: (reason: string) => void): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
    const directory = this.directoryOf(key);
    const read = (): Promise<Buffer | undefined> =>
      readPlain(directory, manifestName, undefined).catch((error: unknown) => {
        if (error instanceof NotPlain || isMissing(error)) return undefined;
        throw this.#unusable('read', error);
      });
    // Looked for once more where the folder is there: it may have been published in between.
    const raw = (await read()) ?? ((await exists(directory)) ? await read() : null);
    if (raw === null) return undefined;
    if (raw === undefined) {
      // Folders are published whole: this one has lost its manifest, and would be in the way of the next.
      onDamage(`${directory}: ${manifestName} is missing or no file`);
      await this.#discard(directory);
      return undefined;
    }
    try {
      const manifest = parseManifest(raw.toString('utf8'));
      const files = new Map<string, Uint8Array>();
      for (const [name, expected] of Object.entries(manifest.files)) {
        const content = await readPlain(directory, name, expected.sizeBytes);
        if (digest(content) !== expected.sha256) throw new Error(`${name} does not match its digest`);
        files.set(name, content);
      }
      return files;
    } catch (error) {
      onDamage(`${directory}: ${error instanceof Error ? error.message : String(error)}`);
      await this.#discard(directory);
      return undefined;
    }
  }

  /** Publishes `files` under `key`; returns the folder. Throws ENGINE_CACHE_UNWRITABLE naming the folder and the cause. */
  async publish(key: string, fields: Readonly<Record<string, string>>, files: ReadonlyMap<string, Uint8Array>): Promise<string> {
    const target = this.directoryOf(key);
    const staging = join(this.root, 'staging', `${key}-${randomUUID()}`);
    try {
      await ensureDirectory(staging);
      await removeAbandoned(join(this.root, 'staging'), { isTemporary: () => true, justWritten: staging });
      await ensureDirectory(join(this.root, 'engines'));
      for (const [name, content] of files) await writeDurably(join(staging, name), content);
      const manifest: Manifest = {
        format: cacheFormat,
        fields,
        files: Object.fromEntries([...files].map(([name, content]) => [name, { sizeBytes: content.byteLength, sha256: digest(content) }])),
      };
      await writeDurably(join(staging, manifestName), Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`));
      await rename(staging, target).catch((error: unknown) => {
        if (!isTaken(error)) throw error;
      });
      return target;
    } catch (cause) {
      throw this.#unusable('write', cause);
    } finally {
      // Where it could not even be made, there is nothing to remove.
      await rm(staging, { recursive: true, force: true }).catch(() => undefined);
    }
  }

  /** Takes a damaged engine out of the way first, so that nobody reads it half removed. */
  async #discard(directory: string): Promise<void> {
    const aside = join(this.root, 'staging', `damaged-${randomUUID()}`);
    try {
      await ensureDirectory(join(this.root, 'staging'));
      await rename(directory, aside).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
      await rm(aside, { recursive: true, force: true });
    } catch (error) {
      throw this.#unusable('repair', error);
    }
  }

  #unusable(action: 'read' | 'write' | 'repair', cause: unknown): SdxlError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new SdxlError(
      'ENGINE_CACHE_UNWRITABLE',
      `cannot ${action} the engine cache ${this.root}: ${reason}; choose another with --cache-dir`,
      {
        fields: { directory: this.root },
        cause,
      },
    );
  }
}

async function writeDurably(path: string, content: Uint8Array): Promise<void> {
  await using file = await open(path, 'wx');
  await file.writeFile(content);
  await file.sync();
}

/** What lies in the cache's folder but is no file of it. */
class NotPlain extends Error {
  override readonly name = 'NotPlain';
}

/** Others may write a shared cache: a pipe would be waited for without end, and a link leads elsewhere. */
async function readPlain(directory: string, name: string, sizeBytes: number | undefined): Promise<Buffer> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  await using file = await open(join(directory, name), flags).catch((error: unknown) => {
    throw error instanceof Error && 'code' in error && error.code === 'ELOOP' ? new NotPlain(`${name} is a link`) : error;
  });
  const found = await file.stat();
  if (!found.isFile()) throw new NotPlain(`${name} is no file`);
  if (sizeBytes !== undefined && found.size !== sizeBytes)
    throw new Error(`${name} has ${String(found.size)} bytes of ${String(sizeBytes)}`);
  return await file.readFile();
}

function parseManifest(text: string): Manifest {
  const manifest: unknown = JSON.parse(text);
  if (!isManifest(manifest)) throw new Error(`${manifestName} is not a manifest of format ${String(cacheFormat)}`);
  return manifest;
}

function isManifest(value: unknown): value is Manifest {
  return (
    typeof value === 'object' &&
    value !== null &&
    'format' in value &&
    value.format === cacheFormat &&
    'files' in value &&
    typeof value.files === 'object' &&
    value.files !== null &&
    Object.keys(value.files).every((name) => /^[\w.-]+$/.test(name) && !name.startsWith('.'))
  );
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST');
}
