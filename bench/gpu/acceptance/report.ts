/** What checks have shown on one host, kept in a file as it becomes known, so that a later call goes on from there. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { table } from '../../../runtime/cli/table.js';
import { packageVersion } from '../../../runtime/package-root.js';

export interface Result {
  readonly name: string;
  readonly outcome: 'passed' | 'missed' | 'skipped';
  /** Figures with their gates, or why it was skipped or what it failed of. */
  readonly detail: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly command: string;
}

/** Results hold for one device, and one version. */
export interface Host {
  readonly device: string;
  readonly devices: number;
  readonly driver: string;
}

export class Report {
  readonly path: string;
  readonly host: Host;
  readonly #results = new Map<string, Result>();

  private constructor(path: string, host: Host) {
    this.path = path;
    this.host = host;
  }

  /** Goes on with the file where there is one. @throws where it was made on another host or by another version */
  static async open(path: string, host: Host): Promise<Report> {
    const report = new Report(path, host);
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (text === undefined) return report;
    const found = JSON.parse(text) as { readonly version: string; readonly host: Host; readonly results: readonly Result[] };
    const [made, here] = [found, { version: packageVersion, host }].map(
      ({ version, host: { device, driver } }) => `${version} on ${device}, driver ${driver}`,
    );
    if (made !== here) throw new Error(`${path} is of ${String(made)}, this is ${String(here)}: give another --output`);
    // What was skipped for want of devices or programs may run now.
    for (const result of found.results) if (result.outcome !== 'skipped') report.#results.set(result.name, result);
    return report;
  }

  has(name: string): boolean {
    return this.#results.has(name);
  }

  get missed(): readonly Result[] {
    return [...this.#results.values()].filter(({ outcome }) => outcome === 'missed');
  }

  async add(result: Result): Promise<void> {
    this.#results.set(result.name, result);
    const text = JSON.stringify({ version: packageVersion, host: this.host, results: [...this.#results.values()] }, null, 1);
    await writeFile(`${this.path}.tmp`, `${text}\n`);
    await rename(`${this.path}.tmp`, this.path);
  }

  print(): string {
    const rows = [...this.#results.values()].map(({ name, outcome, detail, seconds }) => [name, outcome, detail, seconds.toFixed(0)]);
    return table(['check', 'outcome', 'figures', 'seconds'], rows);
  }
}
