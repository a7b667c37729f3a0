/** Takes away the unfinished files of a rank that was killed while it wrote an image. */
import { readdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/** The names under which runtime/image writes before it renames start with the writer's process id. */
export async function removeLeftovers(output: string, pids: readonly number[]): Promise<void> {
  const directory = dirname(resolve(output));
  const names = await readdir(directory).catch((): string[] => []); // Gone, and the leftovers with it.
  const ours = names.filter((name) => pids.some((pid) => name.startsWith(`.sdxl-${String(pid)}-`) && name.endsWith('.tmp')));
  await Promise.allSettled(ours.map((name) => rm(join(directory, name), { force: true })));
}
