/**
 * Tactics and their times by problem, in one JSON file that can be copied to machines with the same device and libraries. Holds
 * only for the `identity` it was made with.
 */
import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SdxlError } from '../../../errors/index.js';
import { ensureDirectory } from '../../../files/index.js';

/** Raised when the meaning of keys or tactics changes. */
const timingCacheFormat = 1;

export interface TimingEntry {
  /** As the library's own serialiser gave it. */
  readonly tactic: string;
  /** For people. */
  readonly label: string;
  readonly microseconds: number;
}

/** Device, driver and versions of the libraries: everything but the problem that a time depends on. */
export type TimingIdentity = Readonly<Record<string, string>>;

export class TimingCache {
  readonly identity: TimingIdentity;
  readonly #entries: Map<string, TimingEntry>;

  /** What is not among the entries is taken from `source`, and then held here too. */
  readonly #source: TimingCache | undefined;

  constructor(identity: TimingIdentity, entries: Iterable<readonly [string, TimingEntry]> = [], source?: TimingCache) {
    this.identity = identity;
    this.#entries = new Map(entries);
    this.#source = source;
  }

  /** Empty where there is no file; also where it is damaged or was made elsewhere, of which `onDismiss` is told. */
  static async open(path: string, identity: TimingIdentity, onDismiss: (reason: string) => void): Promise<TimingCache> {
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) onDismiss(`${path} can't be read: ${String(error)}`);
      return undefined;
    });
    if (text === undefined) return new TimingCache(identity);
    try {
      return new TimingCache(identity, parse(text, identity));
    } catch (error) {
      onDismiss(`${path} is not used: ${error instanceof Error ? error.message : String(error)}`);
      return new TimingCache(identity);
    }
  }

  get size(): number {
    return this.#entries.size;
  }

  get(problem: string): TimingEntry | undefined {
    const own = this.#entries.get(problem);
    if (own !== undefined) return own;
    const found = this.#source?.get(problem);
    if (found !== undefined) this.#entries.set(problem, found);
    return found;
  }

  set(problem: string, entry: TimingEntry): void {
    this.#entries.set(problem, entry);
  }

  /**
   * Adds what the file lacks; one that was made elsewhere is left alone, of which `onDismiss` is told. Of two processes that add at
   * once, the later one's file stands. @throws SdxlError ENGINE_CACHE_UNWRITABLE
   */
  async addTo(path: string, onDismiss: (reason: string) => void): Promise<void> {
    const dismissed: string[] = [];
    const there = await TimingCache.open(path, this.identity, (reason) => dismissed.push(reason));
    for (const reason of dismissed) onDismiss(reason);
    const lacking = [...this.#entries].filter(([problem]) => there.get(problem) === undefined);
    if (dismissed.length > 0 || lacking.length === 0) return;
    for (const [problem, entry] of lacking) there.set(problem, entry);
    await there.save(path);
  }

  /** Problems in alphabetical order, so that equal caches are equal files. */
  toJSON(): object {
    const entries = [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1));
    return { format: timingCacheFormat, identity: this.identity, entries: Object.fromEntries(entries) };
  }

  /** Writes the file whole or not at all. @throws SdxlError ENGINE_CACHE_UNWRITABLE */
  async save(path: string): Promise<void> {
    const staging = `${path}.${randomUUID()}`;
    try {
      await ensureDirectory(dirname(path));
      await writeFile(staging, `${JSON.stringify(this, null, 1)}\n`, { flag: 'wx' });
      await rename(staging, path);
    } catch (cause) {
      // Where it could not even be made, there is nothing to remove.
      await rm(staging, { force: true }).catch(() => undefined);
      throw new SdxlError('ENGINE_CACHE_UNWRITABLE', `cannot write the timing cache ${path}: ${String(cause)}`, {
        fields: { path },
        cause,
      });
    }
  }
}

function parse(text: string, identity: TimingIdentity): readonly (readonly [string, TimingEntry])[] {
  const found: unknown = JSON.parse(text);
  if (!isRecord(found) || found['format'] !== timingCacheFormat) throw new Error(`it is no timing cache of format ${timingCacheFormat}`);
  const made = isRecord(found['identity']) ? found['identity'] : {};
  for (const name of new Set([...Object.keys(identity), ...Object.keys(made)])) {
    if (made[name] !== identity[name]) throw new Error(`it was made with ${name} ${String(made[name])}, this is ${String(identity[name])}`);
  }
  if (!isRecord(found['entries'])) throw new Error('it has no entries');
  return Object.entries(found['entries']).map(([problem, entry]) => {
    if (!isEntry(entry)) throw new Error(`the entry of ${problem} is damaged`);
    return [problem, entry];
  });
}

function isEntry(value: unknown): value is TimingEntry {
  return (
    isRecord(value) &&
    typeof value['tactic'] === 'string' &&
    typeof value['label'] === 'string' &&
    typeof value['microseconds'] === 'number'
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
