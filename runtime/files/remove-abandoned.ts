/** Takes away what killed writers have left among files that others may be writing. */
import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The slowest write, of gigabytes to a network's volume, gets on more often than this. */
const abandonedMs = 3_600_000;

export interface AbandonedOptions {
  /** Of an entry's name. */
  readonly isTemporary: (name: string) => boolean;
  /** Was written a moment ago: it tells the time of the folder's file system, since machines' clocks differ. */
  readonly justWritten: string;
}

/**
 * Removes the temporary files and folders in `directory` to which nothing has been written for an hour: writers in other containers can't be
 * looked at. Never fails: what cannot be removed stays.
 */
export async function removeAbandoned(directory: string, { isTemporary, justWritten }: AbandonedOptions): Promise<void> {
  const now = await lastWriteMs(justWritten).catch(() => undefined); // Taken away meanwhile: another time.
  if (now === undefined) return;
  const names = await readdir(directory).catch((): string[] => []);
  await Promise.allSettled(
    names.filter(isTemporary).map(async (name) => {
      const path = join(directory, name);
      if (now - (await lastWriteMs(path)) > abandonedMs) await rm(path, { recursive: true, force: true });
    }),
  );
}

/** Of a file, or of a folder and what lies directly in it; ms since the epoch. */
async function lastWriteMs(path: string): Promise<number> {
  const found = await lstat(path);
  if (!found.isDirectory()) return found.mtimeMs;
  const inside = await Promise.all((await readdir(path)).map((name) => lstat(join(path, name))));
  return Math.max(found.mtimeMs, ...inside.map(({ mtimeMs }) => mtimeMs));
}
