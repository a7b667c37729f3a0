/** Writes images so that each exists whole or not at all, with the JSON of its parameters beside it. */
import type { Stats } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { ensureDirectory, isSystemError, writingAdvice, type SystemError } from '../files/index.js';
import { requireFinite, requireImageShape, requireNotFlat, type FloatImage } from './check-image.js';
import { isForeignSidecar, makeRecord, sidecarPath } from './image-record.js';
import { parametersAsText, type ImageParameters } from './parameters.js';
import { encodePng, quantize } from './png.js';
import { removeDeadTemporaries, temporaryPath } from './temporary-files.js';

/** Of writing one image, where its files vanish on the way. */
const attempts = 3;

export interface WrittenImage {
  readonly path: string;
  readonly sidecarPath: string;
  readonly sizeBytes: number;
}

/**
 * Checks, encodes and writes an image and its sidecar. Both are written under other names in the same directory, synced, then
 * renamed, the sidecar first: where the PNG exists, all of it does. Neither is left behind on failure or abort.
 * @throws SdxlError IMAGE_NOT_FINITE, IMAGE_FLAT, OUTPUT_UNWRITABLE; the signal's reason
 */
export async function writeImage(
  path: string,
  image: FloatImage,
  parameters: ImageParameters,
  options: { readonly signal?: AbortSignal } = {},
): Promise<WrittenImage> {
  const { signal } = options;
  const { height, width } = requireImageShape(image.shape);
  requireFinite(image);
  requireNotFlat(image);
  const png = await encodePng(quantize(image), width, height, parametersAsText(parameters));
  const sidecar = sidecarPath(path);
  const json = Buffer.from(`${JSON.stringify(makeRecord(path, png, parameters), null, 2)}\n`);
  for (let attempt = 1; ; attempt++) {
    try {
      await writePair(path, json, png, signal);
      return { path, sidecarPath: sidecar, sizeBytes: png.length };
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // Another machine's run may have taken this one for dead, where it stood still for long, and its files away.
      if (error.code !== 'ENOENT' || attempt === attempts) throw unwritable(path, error);
    }
  }
}

async function writePair(path: string, json: Uint8Array, png: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
  const sidecar = sidecarPath(path);
  const directory = dirname(resolve(path));
  const temporary = { json: temporaryPath(directory), png: temporaryPath(directory) };
  let orphan: string | undefined;
  try {
    signal?.throwIfAborted();
    await ensureDirectory(directory);
    await writeSynced(temporary.json, json, signal);
    await writeSynced(temporary.png, png, signal);
    signal?.throwIfAborted();
    await refuseForeignSidecar(path);
    const replaced = (await statOrUndefined(path))?.isFile() === true;
    await rename(temporary.json, sidecar);
    if (!replaced) orphan = sidecar;
    await rename(temporary.png, path);
    orphan = undefined;
    await syncDirectory(directory);
  } catch (error) {
    await removeQuietly([temporary.json, temporary.png, ...(orphan === undefined ? [] : [orphan])]);
    throw error;
  }
}

/**
 * Finds out before minutes of computing whether {@link writeImage} could write `path` now: makes missing directories, and a file
 * that is removed again. What dead writers have left in that folder is removed as well.
 * @throws SdxlError OUTPUT_UNWRITABLE naming the path and the cause
 */
export async function assertWritable(path: string): Promise<void> {
  const directory = dirname(resolve(path));
  const probe = temporaryPath(directory);
  try {
    await ensureDirectory(directory);
    for (const target of [path, sidecarPath(path)]) {
      if ((await statOrUndefined(target))?.isDirectory() === true) throw systemError('EISDIR', `${target} is a directory`);
    }
    await refuseForeignSidecar(path);
    // One block, so that a full disk is noticed.
    await writeSynced(probe, Buffer.alloc(4096));
    await removeDeadTemporaries(directory, (await stat(probe)).mtimeMs);
  } catch (error) {
    throw isSystemError(error) ? unwritable(path, error) : error;
  } finally {
    await removeQuietly([probe]);
  }
}

/** A JSON file of the user's own, a job for example, is not overwritten. */
async function refuseForeignSidecar(path: string): Promise<void> {
  if (!(await isForeignSidecar(path))) return;
  const sidecar = sidecarPath(path);
  throw new SdxlError(
    'OUTPUT_UNWRITABLE',
    `${path} can't be written: its parameters go to ${sidecar}, which exists and is not an image's record; choose another output or move that file`,
    { fields: { path, sidecar } },
  );
}

async function writeSynced(path: string, data: Uint8Array, signal?: AbortSignal): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    await handle.writeFile(data, signal === undefined ? {} : { signal });
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the renames last through a power failure. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network file systems can't sync a directory; the files themselves are synced.
    if (!isSystemError(error) || !['EINVAL', 'ENOTSUP', 'EPERM', 'EISDIR'].includes(error.code)) throw error;
  } finally {
    await handle.close();
  }
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Never hides the error that made it necessary: the files may lie under something that is no directory. */
async function removeQuietly(paths: readonly string[]): Promise<void> {
  await Promise.allSettled(paths.map((path) => rm(path, { force: true })));
}

function unwritable(path: string, cause: SystemError): SdxlError {
  const reason = writingAdvice(cause) ?? cause.message;
  return new SdxlError('OUTPUT_UNWRITABLE', `${path} can't be written (${cause.code}): ${reason}`, {
    fields: { path, cause: cause.code },
    cause,
  });
}

function systemError(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(message), { code });
}
