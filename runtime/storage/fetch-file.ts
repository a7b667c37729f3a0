/** One file of a remote model, fetched from where an earlier attempt has ended, and compared with what its source says of it. */
import { createHash, type Hash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SdxlError } from '../errors/index.js';
import { withPatience, type Patience } from './patience.js';
import { TransferInterrupted, type FileDigest, type RemoteFile, type RemoteModel } from './remote-model.js';

/** Without a byte. */
const stallMs = 60_000;

/**
 * Resolves once `target` holds the file. What is there already is gone on with; what turns out damaged is taken away.
 * @throws SdxlError the model's, or ADDRESS_UNAVAILABLE where it comes damaged; {@link TransferInterrupted}; the signal's reason
 */
export async function fetchFile(
  model: RemoteModel,
  file: RemoteFile,
  target: string,
  patience: Patience,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  if ((await sizeOf(target)) > file.sizeBytes) await rm(target);
  await withPatience(
    async (progressed) => {
      const offset = await sizeOf(target);
      if (offset < file.sizeBytes || file.sizeBytes === 0) await receive(model, file, target, offset, progressed, signal);
    },
    (error) => error instanceof TransferInterrupted,
    patience,
    signal,
  );
  const problem = await damage(target, file, signal);
  if (problem === undefined) return;
  await rm(target, { force: true });
  throw new SdxlError('ADDRESS_UNAVAILABLE', `${model.name} was not fetched: ${problem}`, { fields: { path: file.path } });
}

/** Size in bytes; 0 where there is no such file. */
export async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

async function receive(
  model: RemoteModel,
  file: RemoteFile,
  target: string,
  offset: number,
  progressed: () => void,
  signal: AbortSignal,
): Promise<void> {
  const stalled = new AbortController();
  const timer = setTimeout(() => {
    stalled.abort(new TransferInterrupted(`${file.path} has stood still for ${String(stallMs / 1000)} s`));
  }, stallMs);
  const handle = await open(target, constants.O_RDWR | constants.O_CREAT);
  try {
    const { start, chunks } = await model.read(file, offset, AbortSignal.any([signal, stalled.signal]));
    let written = start;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks) {
        written += chunk.length;
        if (written > file.sizeBytes) {
          // Else one that never ends would fill the disk.
          const message = `${model.name} was not fetched: ${file.path} goes on after the ${String(file.sizeBytes)} bytes that were announced`;
          throw new SdxlError('ADDRESS_UNAVAILABLE', message, { fields: { path: file.path } });
        }
        timer.refresh();
        // A server that can't begin in the middle repeats what is there already.
        if (written > offset) progressed();
        yield chunk;
      }
    };
    // Each byte goes to its own place: whoever else fetches this file at the same time writes the same there.
    await pipeline(counted, handle.createWriteStream({ start, flush: true }));
    if (written < file.sizeBytes) {
      throw new TransferInterrupted(`${file.path} has ${String(written)} bytes, and ${String(file.sizeBytes)} were announced`);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (stalled.signal.aborted) throw stalled.signal.reason as TransferInterrupted;
    // The connection, as seen by whoever reads from it; a disk that is full stays full.
    if (error instanceof SdxlError || error instanceof TransferInterrupted || isDiskError(error)) throw error;
    throw new TransferInterrupted(`${file.path} was cut off: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    clearTimeout(timer);
    await handle.close();
  }
}

/** Why the file is not what was announced; undefined where it is. */
async function damage(target: string, { path, sizeBytes, digest }: RemoteFile, signal: AbortSignal): Promise<string | undefined> {
  const size = await sizeOf(target);
  if (size !== sizeBytes) return `${path} has ${String(size)} bytes, and ${String(sizeBytes)} were announced`;
  if (digest === undefined) return undefined;
  const hash = beginDigest(digest, sizeBytes);
  for await (const chunk of createReadStream(target, { highWaterMark: 1 << 20, signal })) hash.update(chunk as Buffer);
  const found = hash.digest('hex');
  return found === digest.value ? undefined : `${path} is damaged: its ${digest.algorithm} is ${found}, and ${digest.value} was announced`;
}

function beginDigest({ algorithm }: FileDigest, sizeBytes: number): Hash {
  return algorithm === 'git-blob' ? createHash('sha1').update(`blob ${String(sizeBytes)}\0`) : createHash(algorithm);
}

function isDiskError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EIO'].includes(String(error.code));
}
