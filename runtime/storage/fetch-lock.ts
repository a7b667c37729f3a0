/**
 * Lets one process of many, on any machine that shares the folder, fetch while the others wait. It saves traffic and is no more than that: what two
 * processes fetch at once is the same (fetch-file.ts), so nothing is lost when a lock is taken from somebody who was only slow.
 */
import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

const beatMs = 2_000;
const pollMs = 500;
/** Without a beat, by the clock of whoever waits. */
const staleMs = 20_000;

interface Holder {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly beat: number;
}

export interface LockOptions {
  /** No lock is needed any more once this holds. */
  readonly isDone: () => Promise<boolean>;
  /** Told once, with the host that is waited for. */
  readonly onWait: (host: string) => void;
  readonly signal: AbortSignal;
}

export class FetchLock implements AsyncDisposable {
  readonly #path: string;
  readonly #id = randomUUID();
  #beat = 0;
  #beating = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Undefined: somebody else has done it. Rejects with the signal's reason, or with what the folder refuses. */
  static async take(path: string, { isDone, onWait, signal }: LockOptions): Promise<FetchLock | undefined> {
    const lock = new FetchLock(path);
    let seen = '';
    let since = performance.now();
    let told = false;
    for (;;) {
      signal.throwIfAborted();
      if (await isDone()) return undefined;
      if (await lock.#claim()) return lock;
      const text = await readFile(path, 'utf8').catch(() => ''); // Given back this moment.
      if (text !== seen) [seen, since] = [text, performance.now()];
      const holder = parse(text);
      if (performance.now() - since > staleMs || (holder !== undefined && hasDied(holder))) {
        await lock.#remove(text);
        continue;
      }
      if (!told && holder !== undefined) onWait(holder.host);
      told ||= holder !== undefined;
      await delay(pollMs, undefined, { signal }).catch(() => undefined); // Said at the loop's beginning.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#beating;
    const holder = parse(await readFile(this.#path, 'utf8').catch(() => ''));
    if (holder?.id === this.#id) await rm(this.#path, { force: true });
  }

  async #claim(): Promise<boolean> {
    try {
      const handle = await open(this.#path, 'wx');
      await handle.writeFile(this.#text());
      await handle.close();
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw error;
    }
    this.#timer = setInterval(() => {
      this.#beating = this.#beating.then(() => this.#renew());
    }, beatMs);
    this.#timer.unref();
    return true;
  }

  /** Never makes a lock anew that somebody has taken away. */
  async #renew(): Promise<void> {
    this.#beat++;
    // A beat that is missed does no harm; a folder that takes no more is told of by the fetch itself.
    await writeFile(this.#path, this.#text(), { flag: 'r+' }).catch(() => undefined);
  }

  #text(): string {
    const holder: Holder = { id: this.#id, host: hostname(), pid: process.pid, beat: this.#beat };
    return JSON.stringify(holder);
  }

  /** Takes away the lock whose text is `text`, and no other: one of several that find it stale wins. */
  async #remove(text: string): Promise<void> {
    const aside = `${this.#path}.${this.#id}`;
    await rename(this.#path, aside).catch(() => undefined); // Another one was first.
    const taken = await readFile(aside, 'utf8').catch(() => text);
    // The lock of somebody who came in between goes back; should there be a third by now, two fetch at once.
    if (taken === text) await rm(aside, { force: true });
    else await rename(aside, this.#path);
  }
}

/** Told only of processes of this machine. A pod has a host name of its own. */
function hasDied({ host, pid }: Holder): boolean {
  if (host !== hostname()) return false;
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

/** Undefined for a text that is not yet written. */
function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined; // Half written.
  }
}
