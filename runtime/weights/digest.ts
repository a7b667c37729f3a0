/**
 * Content digests of weight files, for cache keys and for comparing ranks. A file is hashed once; the digest is then remembered
 * under the engine cache by real path, inode, size and modification time, so that a start never reads gigabytes again.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ensureDirectory } from '../files/index.js';
import { damagedFileAdvice, vanished, weightsError } from './weights-error.js';

export interface DigestOptions {
  /** The engine cache directory; digests lie in its folder `digests`. */
  readonly cacheDirectory: string;
  readonly signal?: AbortSignal;
  /** Told when a digest could not be remembered (a cache mounted read-only): it is still returned. */
  readonly onUnremembered?: (path: string, cause: unknown) => void;
  /** Told before a file is read through, which takes seconds for gigabytes. */
  readonly onHash?: (path: string, sizeBytes: number) => void;
}

interface Identity {
  readonly path: string;
  readonly inode: string;
  readonly size: string;
  readonly mtimeNs: string;
}

/** Hex sha256 of the file's bytes. @throws SdxlError WEIGHTS_INVALID where the file keeps changing while it is read, MODEL_NOT_FOUND where it goes. */
export async function fileDigest(realPath: string, options: DigestOptions): Promise<string> {
  const folder = join(options.cacheDirectory, 'digests');
  const record = join(folder, `${createHash('sha256').update(realPath).digest('hex')}.json`);
  const attempts = 3;
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const identity = await identify(realPath);
    const known = await recall(record, identity);
    if (known !== undefined) return known;
    options.onHash?.(realPath, Number(identity.size));
    const digest = await hashFile(realPath, options.signal);
    // A file replaced while it was read has the digest of neither version.
    if (same(identity, await identify(realPath))) {
      await remember(folder, record, { ...identity, sha256: digest }).catch((cause: unknown) => {
        options.onUnremembered?.(realPath, cause);
      });
      return digest;
    }
    await delay(100, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  throw weightsError({
    file: realPath,
    expected: 'a file at rest',
    found: `it changed during ${String(attempts)} readings`,
    advice: `wait for its download to end; otherwise ${damagedFileAdvice}`,
  });
}

/** One digest for an ordered list of digests. */
export function combineDigests(digests: readonly string[]): string {
  return createHash('sha256').update(digests.join('\n')).digest('hex');
}

async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(path, { highWaterMark: 4 << 20, ...(signal === undefined ? {} : { signal }) });
  try {
    for await (const chunk of stream) hash.update(chunk as Uint8Array);
  } catch (cause) {
    signal?.throwIfAborted();
    throw vanished(path, cause);
  }
  return hash.digest('hex');
}

async function identify(path: string): Promise<Identity> {
  const { ino, size, mtimeNs } = await stat(path, { bigint: true }).catch((cause: unknown) => {
    throw vanished(path, cause);
  });
  return { path, inode: ino.toString(), size: size.toString(), mtimeNs: mtimeNs.toString() };
}

function same(a: Identity, b: Identity): boolean {
  return a.path === b.path && a.inode === b.inode && a.size === b.size && a.mtimeNs === b.mtimeNs;
}

async function recall(record: string, identity: Identity): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(record, 'utf8');
  } catch {
    return undefined; // Not remembered yet, or not readable: hashing again is always right.
  }
  const remembered = parseRecord(text);
  return remembered !== undefined && same(remembered, identity) ? remembered.sha256 : undefined;
}

function parseRecord(text: string): (Identity & { readonly sha256: string }) | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // A damaged record counts as none.
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(value));
  const texts = ['path', 'inode', 'size', 'mtimeNs', 'sha256'].map((key) => fields.get(key));
  const [path, inode, size, mtimeNs, sha256] = texts;
  if (typeof path !== 'string' || typeof inode !== 'string' || typeof size !== 'string') return undefined;
  if (typeof mtimeNs !== 'string' || typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) return undefined;
  return { path, inode, size, mtimeNs, sha256 };
}

/** Published by rename: ranks that start together may write the same record at the same time. */
async function remember(folder: string, record: string, content: Identity & { sha256: string }): Promise<void> {
  await ensureDirectory(folder);
  const temporary = `${record}.${String(process.pid)}.${String(process.hrtime.bigint())}`;
  try {
    await writeFile(temporary, `${JSON.stringify(content)}\n`);
    await rename(temporary, record);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
