/**
 * Which replica makes which image (docs/decisions/0006): rank 0 holds the images, the leader of each replica asks it for one at a time and
 * tells it of every step, and each leader hands what it was told to the members of its replica.
 *
 * Nobody waits longer than a step of somebody's: a leader for which nothing is left is answered whenever another replica has got on, until
 * all is made. So deadlines of exchanges mean the same as in a gang that makes one image.
 */
import type { Communicator } from '../collectives/communicator.js';
import type { Replica } from '../parallel/index.js';
import type { PipelineEvent, PipelineObserver, Stage } from './events.js';
import type { ImageQueue } from './image-queue.js';
import type { ImageWrites } from './image-writes.js';

/** What a leader tells rank 0. */
export type Report =
  /** It takes an image, or waits for one: not, if it still writes one that may be all that others wait for. */
  | { readonly kind: 'ready'; readonly writing: boolean }
  | { readonly kind: 'step'; readonly image: number; readonly step: number; readonly steps: number }
  /** It has got on by less than a step. */
  | { readonly kind: 'working' }
  /** An image is on disk. */
  | { readonly kind: 'done'; readonly image: number; readonly seconds: number; readonly stages: Readonly<Partial<Record<Stage, number>>> };

/** What a replica does next. */
export type Turn = { readonly kind: 'image'; readonly image: number } | { readonly kind: 'wait' } | { readonly kind: 'over' };

/** Reports are heard beside the work: a rank that has asked for one does not wait for it. */
export const reportOperation = 'report';
const turnOperation = 'turn';
/** Beyond the tags of any plan. */
const reportTag = 0xffff0003;
const turnTag = 0xffff0004;
/** Messages have one size, known to both ends: JSON, filled up with spaces. */
const reportBytes = 512;
const turnBytes = 64;

export interface TurnsOptions {
  /** Of the whole gang. */
  readonly communicator: Communicator;
  readonly replica: Replica;
  readonly observer: PipelineObserver;
  readonly signal: AbortSignal | undefined;
}

/** One rank's part: the images of its replica, in turn. */
export class Turns {
  readonly #options: TurnsOptions;
  readonly #queue: ImageQueue | undefined;
  #failure: { readonly reason: unknown } | undefined;

  /** `queue` is rank 0's. */
  constructor(options: TurnsOptions, queue: ImageQueue | undefined) {
    this.#options = options;
    this.#queue = queue;
  }

  /** The replica's next image, the same for all its members; undefined: every image of the job is made. `writes` are this rank's. */
  async next(writes: ImageWrites): Promise<number | undefined> {
    const { replica, observer } = this.#options;
    const [leader = 0, ...members] = replica.members;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.reason;
      const turn = replica.rank === 0 ? await this.#ask(writes.busy) : await this.#hear(leader);
      if (replica.rank === 0) await this.#tell(members, turn);
      switch (turn.kind) {
        case 'image':
          return turn.image;
        case 'over':
          return undefined;
        case 'wait':
          await writes.atMost(0);
          observer({ type: 'waiting' });
      }
    }
  }

  /** A leader's word on its work; not waited for. Rank 0 needs none of its own. */
  report(report: Report): void {
    const { communicator, replica, signal } = this.#options;
    if (replica.rank !== 0) return;
    if (this.#queue !== undefined) {
      if (report.kind === 'done') this.#queue.done(report.image);
      else this.#queue.stir();
      return;
    }
    const sends = [{ peer: 0, parts: [frame(report, reportBytes)] }];
    communicator.exchange({ operation: reportOperation, tag: reportTag, sends, receives: [] }, signal).catch((reason: unknown) => {
      this.#failure ??= { reason };
    });
  }

  /** The events of an image that rank 0 hears of from other replicas' leaders. */
  reportEvent(event: PipelineEvent): void {
    if (event.type === 'step') this.report({ kind: 'step', image: event.image, step: event.step, steps: event.steps });
    if (event.type === 'stage-ended') this.report({ kind: 'working' });
  }

  async #ask(writing: boolean): Promise<Turn> {
    if (this.#queue !== undefined) return await takeTurn(this.#queue, writing, this.#options.signal);
    this.report({ kind: 'ready', writing });
    return await this.#hear(0);
  }

  async #hear(peer: number): Promise<Turn> {
    const { communicator, signal } = this.#options;
    const part = new Uint8Array(turnBytes);
    await communicator.exchange({ operation: turnOperation, tag: turnTag, sends: [], receives: [{ peer, parts: [part] }] }, signal);
    return parse(part) as Turn;
  }

  async #tell(peers: readonly number[], turn: Turn): Promise<void> {
    if (peers.length > 0) await tellTurn(this.#options.communicator, peers, turn, this.#options.signal);
  }
}

/** Rank 0's side of one other leader: hears its reports and answers, until it has told it that all is made. */
export async function serveLeader(
  leader: number,
  queue: ImageQueue,
  communicator: Communicator,
  onReport: (report: Extract<Report, { kind: 'step' | 'done' }>) => void,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const part = new Uint8Array(reportBytes);
    const receives = [{ peer: leader, parts: [part] }];
    await communicator.exchange({ operation: reportOperation, tag: reportTag, sends: [], receives }, signal);
    const report = parse(part) as Report;
    switch (report.kind) {
      case 'ready': {
        const turn = await takeTurn(queue, report.writing, signal);
        await tellTurn(communicator, [leader], turn, signal);
        if (turn.kind === 'over') return;
        break;
      }
      case 'done':
        onReport(report);
        queue.done(report.image);
        break;
      case 'step':
        onReport(report);
        queue.stir();
        break;
      case 'working':
        queue.stir();
    }
  }
}

/** Whoever still writes is answered at once: it has to tell of that before it can be known that all is made. */
async function takeTurn(queue: ImageQueue, writing: boolean, signal: AbortSignal | undefined): Promise<Turn> {
  const image = queue.take();
  if (image !== undefined) return { kind: 'image', image };
  if (queue.isOver()) return { kind: 'over' };
  if (writing) return { kind: 'wait' };
  await queue.stirred(signal);
  return queue.isOver() ? { kind: 'over' } : { kind: 'wait' };
}

async function tellTurn(communicator: Communicator, peers: readonly number[], turn: Turn, signal: AbortSignal | undefined): Promise<void> {
  const sends = peers.map((peer) => ({ peer, parts: [frame(turn, turnBytes)] }));
  // Beside the work of rank 0, which answers other leaders: the asked one waits, not this rank.
  await communicator.exchange({ operation: turnOperation, tag: turnTag, sends, receives: [] }, signal);
}

function frame(value: Report | Turn, bytes: number): Uint8Array {
  const text = Buffer.from(JSON.stringify(value));
  if (text.length > bytes) throw new Error(`${text.toString()} is longer than ${String(bytes)} bytes`);
  return Buffer.concat([text, Buffer.alloc(bytes - text.length, ' ')]);
}

/** A rank of the same version and job wrote it: both were compared at rendezvous. */
function parse(part: Uint8Array): unknown {
  return JSON.parse(Buffer.from(part).toString());
}
