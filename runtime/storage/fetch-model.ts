/** A remote model into a directory, once for all who share the place: whole or not at all, and gone on with where an attempt has ended. */
import { createHash } from 'node:crypto';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { ensureDirectory, isSystemError, writingAdvice } from '../files/index.js';
import { fetchFile, sizeOf } from './fetch-file.js';
import { FetchLock } from './fetch-lock.js';
import { withPatience, type Patience } from './patience.js';
import { TransferInterrupted, type RemoteFile, type RemoteModel } from './remote-model.js';

export interface FetchObserver {
  /** A file is fetched next. `presentBytes`: how much of it an earlier attempt has left. */
  readonly file: (file: RemoteFile, presentBytes: number) => void;
  /** Somebody else fetches the same. */
  readonly waiting: (host: string) => void;
}

export interface FetchOptions extends FetchObserver {
  readonly patience: Patience;
  readonly signal: AbortSignal;
}

/**
 * Resolves with whether the model was fetched; false: it was there, by an earlier call or somebody else's. On failure what has arrived stays
 * beside `output`, for the next attempt.
 * @throws SdxlError MODEL_NOT_FOUND, ADDRESS_UNAVAILABLE, OUTPUT_UNWRITABLE; the signal's reason
 */
export async function fetchModel(model: RemoteModel, output: string, options: FetchOptions): Promise<boolean> {
  try {
    return await fetchOnce(model, output, options);
  } catch (error) {
    const advice = isSystemError(error) ? writingAdvice(error) : undefined;
    if (!isSystemError(error) || advice === undefined) throw error;
    const kept = ['ENOSPC', 'EDQUOT'].includes(error.code) ? '; what has arrived is kept for the next attempt' : '';
    throw new SdxlError('OUTPUT_UNWRITABLE', `${output} can't be written (${error.code}): ${advice}${kept}`, {
      fields: { output, cause: error.code },
      cause: error,
    });
  }
}

async function fetchOnce(model: RemoteModel, output: string, { patience, signal, file: onFile, waiting }: FetchOptions): Promise<boolean> {
  const isDone = (): Promise<boolean> => holdsModel(output);
  if (await isDone()) return false;
  await refuseForeign(output);
  await ensureDirectory(dirname(output));
  await using lock = await FetchLock.take(`${output}.lock`, { isDone, onWait: waiting, signal });
  if (lock === undefined) return false;
  try {
    const passing = (error: unknown): boolean => error instanceof TransferInterrupted;
    const files = await withPatience(() => model.list(signal), passing, patience, signal);
    // Another state of the model is another folder: what is in one belongs together.
    const partial = `${output}.partial-${digestOf(files)}`;
    for (const file of files) {
      const target = join(partial, file.path);
      onFile(file, await sizeOf(target));
      await fetchFile(model, file, target, patience, signal);
    }
    await publish(partial, output, files);
  } catch (error) {
    if (!(error instanceof TransferInterrupted)) throw error;
    throw new SdxlError('ADDRESS_UNAVAILABLE', `${model.name} was not fetched: ${error.message}`, {
      fields: { model: model.name },
      cause: error.cause,
    });
  }
  return true;
}

async function publish(partial: string, output: string, files: readonly RemoteFile[]): Promise<void> {
  for (const { path, sizeBytes } of files) {
    // Whoever fetched the same at the same time may have found a file damaged and taken it away.
    if ((await sizeOf(join(partial, path))) === sizeBytes || (await holdsModel(output))) continue;
    throw new TransferInterrupted(`${path} was taken away again`);
  }
  await rename(partial, output).catch(async (error: unknown) => {
    // Another process was first; what it fetched is the same.
    if (!(await holdsModel(output))) throw error;
  });
  const left = (await readdir(dirname(output))).filter((name) => name.startsWith(`${basename(output)}.partial-`));
  await Promise.allSettled(left.map((name) => rm(join(dirname(output), name), { recursive: true, force: true })));
}

function digestOf(files: readonly RemoteFile[]): string {
  const listed = files.map(({ path, sizeBytes, version }) => [path, sizeBytes, version]);
  return createHash('sha256').update(JSON.stringify(listed)).digest('hex').slice(0, 12);
}

async function holdsModel(directory: string): Promise<boolean> {
  return stat(join(directory, 'model_index.json')).then(
    () => true,
    () => false,
  );
}

/** An empty directory may be there already; anything else is somebody's. */
async function refuseForeign(output: string): Promise<void> {
  const found = await readdir(output).catch((error: unknown) => {
    if (isSystemError(error) && error.code === 'ENOENT') return [];
    throw error;
  });
  if (found.length === 0) return;
  throw new SdxlError('OUTPUT_UNWRITABLE', `${output} is there and holds other things than a model: choose another directory, or move it`, {
    fields: { output },
  });
}
