/** One program of the control plane as a child process: started, awaited until it is ready, restarted, stopped; its log kept in a file. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { programFile, type Program } from './binaries.js';
import { waitFor } from './wait.js';

export interface ServerOptions {
  readonly program: Program;
  /** Tells apart several of one program. Default: the program's name. */
  readonly name?: string;
  readonly args: readonly string[];
  readonly logFile: string;
  /** Resolves to true once it serves; rejects or resolves to false before that. */
  readonly isReady: () => Promise<boolean>;
}

const readyTimeoutMs = 120_000;
const stopTimeoutMs = 10_000;
const tailBytes = 2_000;

export class Server implements AsyncDisposable {
  readonly name: string;
  readonly #options: ServerOptions;
  #child: ChildProcess | undefined;

  private constructor(options: ServerOptions) {
    this.#options = options;
    this.name = options.name ?? options.program;
  }

  /** Starts it and waits until it is ready. */
  static async start(options: ServerOptions): Promise<Server> {
    const server = new Server(options);
    await server.start();
    return server;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.name} has not started`);
    return this.#child.pid;
  }

  /** Starts it again with the same arguments. */
  async start(): Promise<void> {
    const file = await programFile(this.#options.program);
    const log = openSync(this.#options.logFile, 'a');
    try {
      // The programs end with this process, however it ends.
      const env = { ...process.env, CONTROL_PLANE_DIE_WITH_PARENT: String(process.pid) };
      this.#child = spawn(file, this.#options.args, { stdio: ['ignore', log, log], env });
      await once(this.#child, 'spawn');
    } finally {
      closeSync(log);
    }
    try {
      await waitFor(
        `ready ${this.name}`,
        async () => {
          if (!this.isRunning) return 'gone';
          return (await this.#options.isReady()) ? 'ready' : undefined;
        },
        { timeoutMs: readyTimeoutMs, context: () => this.logTail() },
      );
      if (!this.isRunning) throw new Error(`${this.name} ended while it started\n${await this.logTail()}`);
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Asks it to end, and kills it where that takes too long. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Stops the process in its tracks: connections stay open and nothing is answered, until `resume`. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  /** The end of its log. */
  async logTail(): Promise<string> {
    await using file = await open(this.#options.logFile);
    const { size } = await file.stat();
    const start = Math.max(0, size - tailBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    return `--- ${this.name}: ${this.#options.logFile}\n${buffer.toString('utf8', 0, bytesRead)}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    // One that is paused takes no other signal.
    child.kill('SIGCONT');
    const timeout = new AbortController();
    const killed = delay(stopTimeoutMs, undefined, { signal: timeout.signal }).then(
      () => child.kill('SIGKILL'),
      () => undefined, // It ended by itself.
    );
    await exit;
    timeout.abort();
    await killed;
  }
}
