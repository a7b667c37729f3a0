/**
 * The files that an image is written to before it gets its name. Each names its writer, so that those of writers who are dead can be told
 * from those of another run in the same folder, and taken away.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';

/**
 * A writer on another machine, or in another container, cannot be looked at; what it has left for so long is taken away. Writing takes
 * seconds, and one that stood still all the time writes its image anew when its file is gone.
 */
const foreignAgeMs = 600_000;

/** `.sdxl-<process>-<start of the process>-<where that number means this process>-<random>.tmp`: the image's own name may be too long already. */
const pattern = /^\.sdxl-(\d+)-(\d+)-([0-9a-f]{12})-[0-9a-f]{12}\.tmp$/u;

export function temporaryPath(directory: string): string {
  const { start, place } = ownWriter();
  const name = [process.pid, start, place, randomBytes(6).toString('hex')].join('-');
  return join(directory, `.sdxl-${name}.tmp`);
}

/**
 * Takes away the files of writers that are provably dead. `now`: the time of the folder's file system, ms since the epoch, as machines' clocks
 * may differ; without it nothing is known of other machines' files, and they stay. Never fails: what cannot be removed stays too.
 */
export async function removeDeadTemporaries(directory: string, now?: number): Promise<void> {
  const names = await readdir(directory).catch((): string[] => []); // No folder, no leftovers.
  const left = names.filter((name) => name.startsWith('.sdxl-') && name.endsWith('.tmp'));
  await Promise.allSettled(
    left.map(async (name) => {
      const path = join(directory, name);
      if (await isDead(name, path, now)) await rm(path, { force: true });
    }),
  );
}

async function isDead(name: string, path: string, now: number | undefined): Promise<boolean> {
  const [, pid, start, place] = pattern.exec(name) ?? [];
  if (place === ownWriter().place) return !(await lives(Number(pid), Number(start)));
  return now !== undefined && now - (await stat(path)).mtimeMs > foreignAgeMs;
}

/** Whether that very process is there: its number may have been given to another one since. */
async function lives(pid: number, start: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's process is there and not ours to signal.
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
  }
  const found = startOf(await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => ''));
  return found === undefined || found === start;
}

/** Of a /proc/PID/stat, in ticks since the machine's start; -1: it has ended already; undefined: the system does not say. See proc(5). */
function startOf(line: string): number | undefined {
  // The second field is the program's name in parentheses, which may hold anything.
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  if (fields.length < 20) return undefined;
  return fields[0] === 'Z' || fields[0] === 'X' ? -1 : Number(fields[19]);
}

interface Writer {
  /** As {@link startOf}; 0 where the system does not say. */
  readonly start: number;
  /**
   * Where process numbers mean the same as here: this start of this machine, and this namespace. A namespace's number may be given again, but
   * only when all processes of the first one are gone.
   */
  readonly place: string;
}

let self: Writer | undefined;

function ownWriter(): Writer {
  if (self !== undefined) return self;
  const place = JSON.stringify([
    hostname(),
    orEmpty(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    orEmpty(() => readlinkSync('/proc/self/ns/pid')),
  ]);
  self = {
    start: startOf(orEmpty(() => readFileSync('/proc/self/stat', 'utf8'))) ?? 0,
    place: createHash('sha256').update(place).digest('hex').slice(0, 12),
  };
  return self;
}

function orEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return ''; // A system without /proc.
  }
}
