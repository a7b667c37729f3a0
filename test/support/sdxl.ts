/** Runs the command line as users do: as a process, in a directory of its own, and looks at everything it leaves behind. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { packageFile } from '../../runtime/package-root.js';

export interface Finished {
  /** As a shell shows it: 128 + signal where a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SdxlOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** `pipe`: one that stays open and empty. */
  readonly stdin?: 'ignore' | 'pipe';
}

const program = packageFile('dist/runtime/cli/main.js');
/** Generous: the machine may be slow and busy. What is tested for speed has a deadline of its own. */
const patienceMs = 150_000;

/** Variables of the caller's own environment that would change what is tested. */
const cleared = ['RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'NODE_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'TERMINATION_LOG'];

export class Sdxl {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #finished: Promise<Finished>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], options: SdxlOptions) {
    const inherited = Object.entries(process.env).filter(([name]) => !cleared.includes(name) && !name.startsWith('SDXL_'));
    const env = { ...Object.fromEntries(inherited), SDXL_LOG_LEVEL: 'debug', ...options.env };
    this.#child = spawn(process.execPath, [program, ...args], {
      cwd: options.cwd,
      env,
      stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
    });
    assert(this.#child.pid !== undefined);
    this.pid = this.#child.pid;
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.#finished = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        const signals = { SIGINT: 130, SIGKILL: 137, SIGTERM: 143 } as Readonly<Record<string, number>>;
        resolve({ code: code ?? signals[signal ?? ''] ?? 128, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Stops reading what it says, as `| head` does. */
  leave(stream: 'stdout' | 'stderr'): void {
    this.#child[stream]?.destroy();
  }

  /** Process ids of the ranks started so far, by rank. */
  ranks(): ReadonlyMap<number, number> {
    return new Map([...this.#stderr.matchAll(/ started .*rank=(\d+) pid=(\d+)/gu)].map(([, rank, pid]) => [Number(rank), Number(pid)]));
  }

  rank(rank: number): number {
    const pid = this.ranks().get(rank);
    assert(pid !== undefined, `rank ${String(rank)} has not started:\n${this.#stderr}`);
    return pid;
  }

  /** Waits until stderr matches. */
  async until(pattern: RegExp, withinMs = patienceMs): Promise<RegExpExecArray> {
    return await eventually(
      `${String(pattern)} on stderr`,
      () => pattern.exec(this.#stderr) ?? undefined,
      () => this.#stderr,
      withinMs,
    );
  }

  /** Waits for the end, at most `withinMs`; then nothing it started may be left. */
  async end(withinMs = patienceMs): Promise<Finished> {
    const expired = new AbortController();
    const finished = await Promise.race([this.#finished, delay(withinMs, undefined, { signal: expired.signal }).catch(() => undefined)]);
    expired.abort();
    if (finished === undefined) {
      for (const pid of [this.pid, ...this.ranks().values()]) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      assert.fail(`it did not end within ${String(withinMs)} ms:\n${this.#stderr}`);
    }
    await this.assertNoOrphans(1_000);
    return finished;
  }

  async assertNoOrphans(withinMs: number): Promise<void> {
    const orphans = (): number[] => [...this.ranks().values()].filter(isAlive);
    const deadline = Date.now() + withinMs;
    while (orphans().length > 0 && Date.now() < deadline) await delay(50);
    const left = orphans();
    for (const pid of left) process.kill(pid, 'SIGKILL');
    assert.deepEqual(left, [], `ranks are left behind:\n${this.#stderr}`);
  }
}

/** Runs to the end, at most `withinMs`. */
export async function sdxl(args: readonly string[], options: SdxlOptions, withinMs = patienceMs): Promise<Finished> {
  return await new Sdxl(args, options).end(withinMs);
}

/** Polls until there is a value. */
export async function eventually<T>(
  what: string,
  poll: () => T | undefined | Promise<T | undefined>,
  context: () => string = () => '',
  withinMs = patienceMs,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await poll();
    if (value !== undefined) return value;
    if (Date.now() > deadline) assert.fail(`no ${what} within ${String(withinMs)} ms\n${context()}`);
    await delay(25);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // No such process.
  }
}

/** A directory that is removed with everything in it. */
export class Workspace implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async open(): Promise<Workspace> {
    return new Workspace(await mkdtemp(join(tmpdir(), 'sdxl-test-')));
  }

  file(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** Names in a folder, hidden ones too. */
  async list(folder = ''): Promise<string[]> {
    return (await readdir(join(this.path, folder))).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** A small job's options: a fraction of a second on one rank. */
export function smallJob(model: string, ...more: readonly string[]): string[] {
  return [
    'run',
    '--model',
    model,
    '--size',
    '128',
    '--prompt',
    'flowers, rabbit',
    '--num-inference-steps',
    '4',
    '--seed',
    '233',
    '--threads',
    '1',
    ...more,
  ];
}
