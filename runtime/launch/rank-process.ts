/** A rank as its launcher sees it: a child process, what it last said, and how long it has been silent. */
import { fork, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { SdxlError } from '../errors/index.js';
import type { RankPhase } from '../observe/index.js';
import type { PipelineEvent } from '../pipeline/index.js';
import type { Assignment, LauncherMessage, RankMessage } from './messages.js';
import { rankNodeOptions } from './node-options.js';
import { rankExited, rankNotStarted, reviveError } from './verdict.js';

export interface RankEvents {
  readonly message: (rank: number, message: RankMessage) => void;
  /** The rank failed, by its own report or by dying without one. At most once. */
  readonly failed: (rank: number, error: SdxlError) => void;
}

const rankMain = fileURLToPath(new URL('./rank-main.js', import.meta.url));
/** How long after its death a rank's last messages may still be on their way to this process. */
const lastMessagesMs = 1_000;
const keptLines = 5;
/**
 * What NCCL reads from the environment, unless it is set: collectives are captured in one graph and never mixed with others, which halves
 * the latency of small ones; NVLink multicast is left off.
 */
const ncclDefaults = { NCCL_GRAPH_MIXING_SUPPORT: '0', NCCL_NVLS_ENABLE: '0' };

export class RankProcess {
  readonly rank: number;
  readonly pid: number | undefined;
  /** Settles once the process is gone and everything it said has been heard. */
  readonly ended: Promise<void>;
  phase: RankPhase = 'starting';
  /** The exchange the rank last said it waits in. */
  waitingFor: string | null = null;
  /** Since the last message of any kind, and since the last that told of progress; counted by the watchdog, in its own ticks. */
  silentMs = 0;
  stalledMs = 0;
  /** Whether its failure, if any, is known and its exit is no news. */
  settled = false;
  readonly #child: ChildProcess;
  readonly #assignment: Assignment;
  #started = false;
  /** Why there is no process. */
  #unborn: Error | undefined;
  readonly #events: RankEvents;
  readonly #lastLines: string[] = [];
  #place: string | undefined;
  readonly #writing = new Set<number>();

  constructor(assignment: Assignment, events: RankEvents) {
    this.rank = assignment.rank;
    this.#assignment = assignment;
    this.#events = events;
    // The launcher's environment and arguments say nothing a rank needs: its assignment does.
    this.#child = fork(rankMain, [], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: [...rankNodeOptions],
      env: { ...ncclDefaults, ...process.env },
    });
    this.pid = this.#child.pid;
    this.#child.on('message', (message: RankMessage) => {
      this.#heard(message);
    });
    // Of a process that is there its death is what counts, and that is seen below.
    this.#child.on('error', (cause) => (this.#unborn ??= this.pid === undefined ? cause : undefined));
    // Where no more files may be opened there are no pipes at all, which the types do not say.
    for (const stream of [this.#child.stdout, this.#child.stderr] as (Readable | null | undefined)[]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => this.#said(line));
    }
    this.ended = this.#watchEnd();
  }

  /** Whether the rank has its assignment: until then it is silent, and that is no fault of its. */
  get started(): boolean {
    return this.#started;
  }

  /** Hands the rank its assignment. May be called twice. */
  start(): void {
    if (this.#started || this.pid === undefined) return;
    this.#started = true;
    const message: LauncherMessage = { type: 'start', assignment: this.#assignment };
    this.#child.send(message, () => undefined);
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.pid !== undefined;
  }

  /** Where in the job it last told to be; null: nowhere yet. */
  get at(): string | null {
    const writes = [...this.#writing].map((image) => `image ${String(image + 1)}, write`);
    return this.#place === undefined && writes.length === 0 ? null : [this.#place ?? [], writes].flat().join('; ');
  }

  /** Has no effect on a process that is gone. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.alive) this.#child.kill(signal);
  }

  #heard(message: RankMessage): void {
    this.silentMs = 0;
    switch (message.type) {
      case 'heartbeat':
        this.waitingFor = message.waitingFor;
        break;
      case 'phase':
        this.phase = message.phase;
        this.stalledMs = 0;
        break;
      case 'event':
        this.#place = placeOf(message.event) ?? this.#place;
        this.#follow(message.event);
        if (isOwn(message.event, this.rank)) this.stalledMs = 0;
        break;
      case 'sample':
        this.stalledMs = 0;
        break;
      case 'outcome':
        this.phase = message.outcome.ok ? 'done' : 'failed';
        if (!this.settled && !message.outcome.ok) {
          this.settled = true;
          this.#events.failed(this.rank, reviveError(message.outcome.error));
        }
        this.settled = true;
        break;
      case 'log':
      case 'metrics':
      case 'trace':
        break;
    }
    this.#events.message(this.rank, message);
  }

  /** Images are written beside the making of the next one. */
  #follow(event: PipelineEvent): void {
    if (!('stage' in event) || event.stage !== 'write') return;
    if (event.type === 'stage-started') this.#writing.add(event.image);
    else this.#writing.delete(event.image);
  }

  #said(line: string): void {
    this.#lastLines.push(line);
    if (this.#lastLines.length > keptLines) this.#lastLines.shift();
    this.#events.message(this.rank, { type: 'log', level: 'debug', message: line, fields: {} });
  }

  async #watchEnd(): Promise<void> {
    const child = this.#child;
    const gone = new Promise<void>((resolve) => {
      child.once('close', () => {
        resolve();
      });
      // Without a process there is no close.
      child.once('error', () => {
        if (child.pid === undefined) resolve();
      });
    });
    const hungUp = new Promise<void>((resolve) => {
      child.once('disconnect', () => {
        resolve();
      });
    });
    await gone;
    const heard = new AbortController();
    await Promise.race([hungUp, delay(lastMessagesMs, undefined, { signal: heard.signal }).catch(() => undefined)]);
    heard.abort();
    if (this.settled) return;
    this.settled = true;
    this.phase = 'failed';
    if (this.#unborn !== undefined) {
      this.#events.failed(this.rank, rankNotStarted(this.rank, this.#unborn));
      return;
    }
    this.#events.failed(this.rank, rankExited(this.rank, { code: child.exitCode, signal: child.signalCode }, this.#lastLines.join(' | ')));
  }
}

/** What the rank does from this event on; undefined where it does not say. */
function placeOf(event: PipelineEvent): string | undefined {
  const image = 'image' in event ? `image ${String(event.image + 1)}` : '';
  switch (event.type) {
    case 'stage-started':
      return event.stage === 'write' ? undefined : `${image}, ${event.stage}`;
    case 'step':
      return `${image}, after step ${String(event.step)} of ${String(event.steps)}`;
    case 'stage-ended':
      return `${image}, after ${event.stage}`;
    case 'engine':
    case 'image':
    case 'replica-step':
    case 'waiting':
    case 'warning':
      return undefined;
  }
}

/** Whether the event says that the rank itself has got on: rank 0 also tells of what others did. */
function isOwn(event: PipelineEvent, rank: number): boolean {
  return event.type !== 'replica-step' && (event.type !== 'image' || event.rank === rank);
}
