/**
 * The local ranks of a gang: started together, watched together, ended together. Whatever ends one ends all, and the error that comes out is
 * the cause's, not that of whoever reported first.
 *
 * How it starts: every process at once, the first rank's work at once, the others' when the first has its engines. They load them then.
 * How it ends: a rank fails of itself, hangs, or the caller says stop → every other rank is asked to end (SIGTERM; a hung one is
 * killed) → what is left after the grace period is killed → when every process is gone, the verdict.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type SdxlError } from '../errors/index.js';
import type { Assignment, RankMessage } from './messages.js';
import { RankProcess } from './rank-process.js';
import { describeFailure, findCause, isConsequence, rankExited, rankHung, type Failure } from './verdict.js';
import { suspectSilenceMs, tick, watchIntervalMs, type Deadlines } from './watchdog.js';

export interface GangOptions {
  readonly assignments: readonly Assignment[];
  readonly deadlines: Deadlines;
  readonly gracePeriodMs: number;
  readonly onMessage: (rank: number, message: RankMessage) => void;
  /** A rank was started, with its process id. */
  readonly onStart: (rank: number, pid: number) => void;
  /** Ends the gang in order; its reason is an SdxlError. */
  readonly stop: AbortSignal;
  /** Kills every rank at once. */
  readonly kill: AbortSignal;
}

/** How long to wait, after a failure that may be a consequence, for its cause to show. */
const settleMs = 3_000;

/** Runs every rank to its end. Resolves when all have succeeded, rejects with the cause; no process is left either way. */
export async function runGang(options: GangOptions): Promise<void> {
  options.stop.throwIfAborted();
  const gang = new Gang(options);
  await gang.ended();
}

class Gang {
  readonly #options: GangOptions;
  readonly #ranks: RankProcess[] = [];
  readonly #failures: Failure[] = [];
  /** Aborts when the gang is being ended; the listeners of one end. */
  readonly #ending = new AbortController();
  readonly #gone = new AbortController();
  /** The failures known when the caller said stop: what comes after is its consequence. */
  #failuresBeforeStop: number | undefined;

  constructor(options: GangOptions) {
    this.#options = options;
    const events = {
      message: (rank: number, message: RankMessage): void => {
        if (message.type === 'phase' && message.phase !== 'building') this.#startAll();
        options.onMessage(rank, message);
      },
      failed: (rank: number, error: SdxlError): void => {
        this.#failed({ rank, error });
      },
    };
    for (const assignment of options.assignments) {
      const rank = new RankProcess(assignment, events);
      this.#ranks.push(rank);
      if (rank.pid !== undefined) options.onStart(rank.rank, rank.pid);
    }
    // The first builds engines and hashes weights for all: together they would do it as often as there are ranks.
    this.#ranks[0]?.start();
  }

  async ended(): Promise<void> {
    const { stop, kill } = this.#options;
    stop.addEventListener('abort', this.#onStop);
    kill.addEventListener('abort', this.#killAll);
    let last = performance.now();
    const watch = setInterval(() => {
      const now = performance.now();
      const running = this.#ranks.filter((rank) => rank.alive && rank.started && !rank.settled);
      for (const failure of tick(running, now - last, this.#options.deadlines)) this.#hung(failure);
      last = now;
    }, watchIntervalMs);
    await Promise.all(this.#ranks.map((rank) => rank.ended));
    this.#gone.abort();
    clearInterval(watch);
    stop.removeEventListener('abort', this.#onStop);
    kill.removeEventListener('abort', this.#killAll);
    this.#judge();
  }

  #startAll(): void {
    if (!this.#ending.signal.aborted) for (const rank of this.#ranks) rank.start();
  }

  #judge(): void {
    const cause = findCause(this.#failures.slice(0, this.#failuresBeforeStop));
    if (cause !== undefined) throw describeFailure(cause);
    this.#options.stop.throwIfAborted();
    const [failure] = this.#failures;
    if (failure !== undefined) throw describeFailure(failure);
  }

  #failed(reported: Failure): void {
    // Nobody here told it to stop: somebody else did.
    const unasked = reported.error.code === 'CANCELLED' && !this.#ending.signal.aborted;
    const failure = unasked ? { rank: reported.rank, error: rankExited(reported.rank, { code: null, signal: 'SIGTERM' }, '') } : reported;
    this.#failures.push(failure);
    if (!isConsequence(failure)) {
      void this.#end();
      return;
    }
    const lost = this.#ranks.find(({ rank }) => failure.error.code === 'PEER_LOST' && rank === failure.error.fields['rank']);
    if (lost?.alive === true && !lost.settled && lost.silentMs >= suspectSilenceMs) {
      const error = rankHung(lost.rank, 'it has been silent', lost.silentMs / 1000);
      this.#hung({ rank: lost.rank, error });
      return;
    }
    void this.#endAfter(settleMs);
  }

  #hung(failure: Failure): void {
    const rank = this.#ranks.find((candidate) => candidate.rank === failure.rank);
    if (rank === undefined || rank.settled) return;
    rank.settled = true;
    rank.phase = 'failed';
    this.#failures.push(failure);
    rank.kill('SIGKILL');
    void this.#end();
  }

  readonly #onStop = (): void => {
    this.#failuresBeforeStop ??= this.#failures.length;
    void this.#end();
  };

  readonly #killAll = (): void => {
    for (const rank of this.#ranks) rank.kill('SIGKILL');
  };

  async #endAfter(ms: number): Promise<void> {
    await this.#pause(ms);
    await this.#end();
  }

  async #end(): Promise<void> {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort();
    for (const rank of this.#ranks) if (!rank.settled) rank.kill('SIGTERM');
    await this.#pause(this.#options.gracePeriodMs);
    this.#killAll();
  }

  /** Waits, or until every process is gone. */
  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#gone.signal }).catch(() => undefined);
  }
}
