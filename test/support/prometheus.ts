/** A Prometheus server of this machine for a test: its configuration, and what its HTTP API answers. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { waitFor } from './cluster/index.js';
import { toolPath } from './tools.js';

export type Labels = Readonly<Record<string, string>>;

export interface Series {
  readonly metric: Labels;
  /** Seconds since the epoch and the value, oldest first; one alone of an instant query. */
  readonly values: readonly (readonly [time: number, value: number])[];
}

export interface RuleState {
  readonly name: string;
  readonly query: string;
  readonly health: string;
  readonly lastError?: string;
  readonly state: 'inactive' | 'pending' | 'firing';
  readonly alerts: readonly { readonly state: string; readonly labels: Labels; readonly annotations: Labels }[];
}

interface Result {
  readonly metric: Labels;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: unknown;
}

export class Prometheus implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  /** @param directory where it keeps its files; whoever gives it removes it */
  static async start(directory: string, config: object, ruleFiles: Readonly<Record<string, object>>): Promise<Prometheus> {
    await mkdir(directory, { recursive: true });
    for (const [name, groups] of Object.entries(ruleFiles)) await writeFile(join(directory, name), stringify(groups));
    const file = join(directory, 'prometheus.yaml');
    await writeFile(file, stringify({ ...config, rule_files: Object.keys(ruleFiles) }));
    const args = [`--config.file=${file}`, `--storage.tsdb.path=${join(directory, 'data')}`, '--web.listen-address=127.0.0.1:0'];
    const child = spawn(toolPath('prometheus'), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-20_000);
    });
    try {
      const url = await waitFor(
        'ready Prometheus',
        async () => {
          if (child.exitCode !== null) return 'gone';
          const address = /msg="Listening on" address=(\S+)/u.exec(log)?.[1];
          if (address === undefined || !(await fetch(`http://${address}/-/ready`)).ok) return undefined;
          return `http://${address}`;
        },
        { context: () => log },
      );
      if (url === 'gone') throw new Error(`Prometheus ended while it started\n${log}`);
      return new Prometheus(url, child);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  async query(expr: string): Promise<readonly Series[]> {
    return seriesOf(await this.#get('query', { query: expr }));
  }

  /** @param from, to seconds since the epoch */
  async queryRange(expr: string, from: number, to: number, stepSeconds: number): Promise<readonly Series[]> {
    const times = { start: String(from), end: String(to), step: String(stepSeconds) };
    return seriesOf(await this.#get('query_range', { query: expr, ...times }));
  }

  async rules(): Promise<readonly RuleState[]> {
    const { groups } = (await this.#get('rules', {})) as { readonly groups: readonly { readonly rules: readonly RuleState[] }[] };
    return groups.flatMap(({ rules }) => rules);
  }

  async #get(path: string, parameters: Labels): Promise<unknown> {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`);
    const { status, error, data } = (await response.json()) as Answer;
    if (status !== 'success') throw new Error(`${error ?? status}: ${JSON.stringify(parameters)}`);
    return data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exited;
  }
}

function seriesOf(data: unknown): readonly Series[] {
  const { result } = data as { readonly result: readonly Result[] };
  return result.map(({ metric, value, values = value === undefined ? [] : [value] }) => ({
    metric,
    values: values.map(([time, text]) => [time, text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text)] as const),
  }));
}
