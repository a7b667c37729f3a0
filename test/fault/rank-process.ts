/** Starts collectives-rank.js as child processes, waits for what they report, and leaves none behind. */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { SerializedError } from '../../runtime/errors/index.js';
import type { RankPlan, RankReport } from './collectives-rank.js';

const program = fileURLToPath(new URL('collectives-rank.js', import.meta.url));

export interface RankEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Null where it ended well; undefined where it could not say. */
  readonly error: SerializedError | null | undefined;
  /** When the process was gone, in `performance.now()` of this process. */
  readonly at: number;
}

export class RankProcess {
  /** Resolves when the process is gone. */
  readonly ended: Promise<RankEnd>;
  readonly #child: ChildProcess;
  readonly #reports: RankReport[] = [];
  readonly #waiting = new Set<() => void>();
  #gone = false;

  constructor(plan: RankPlan) {
    this.#child = fork(program, [JSON.stringify(plan)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#child.on('message', (report) => {
      this.#reports.push(report as RankReport);
      for (const check of this.#waiting) check();
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (exitCode, signal) => {
        this.#gone = true;
        for (const check of this.#waiting) check();
        const last = this.#reports.find((report) => report.report === 'ended');
        resolve({ exitCode, signal, error: last?.error, at: performance.now() });
      });
    });
  }

  /** Resolves once the process has reported so. */
  reported(kind: RankReport['report'], minCount = 0): Promise<void> {
    const held = (): boolean =>
      this.#reports.some((report) => report.report === kind && (report.report !== 'exchanged' || report.count >= minCount));
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (held()) resolve();
        else if (this.#gone) reject(new Error(`the rank was gone before it reported ${kind}: ${JSON.stringify(this.#reports)}`));
        else return;
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Kills it if it still lives. */
  async destroy(): Promise<void> {
    if (!this.#gone) this.#child.kill('SIGKILL');
    await this.ended;
  }
}
