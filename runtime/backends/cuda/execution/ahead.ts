/**
 * What a displaced step sends for the next: groups of messages by NCCL on a stream of their own, beside the operations of the step, in few
 * blocks so that these keep the multiprocessors. In a capture the stream forks from the step's and is joined to it at the end; every rank
 * enqueues the same groups in the same order.
 *
 * By a communicator of its own: operations of one communicator wait for each other whatever their streams.
 */
import { closeAll, type Device, type Event, type Nccl, type NcclCommunicator, type Stream } from '../libraries/index.js';
import type { Move, OperationOf } from '../plan/operations.js';
import { elementBytes, product } from '../plan/view.js';
import type { Addresses } from './launch.js';

/**
 * A block moves some 7 GB/s between two H100s, and a step's exchanges want 15 for each peer. On two, 4 to 32 took equally long: what more
 * blocks take from the step's kernels, fewer take for longer.
 */
export const aheadBlocks = 16;

export class AheadExchanges {
  readonly #nccl: Nccl;
  readonly #communicator: NcclCommunicator;
  readonly #group: readonly number[];
  readonly #stream: Stream;
  readonly #forked: Event;
  readonly #joined: Event;
  #isForked = false;

  /** `group`: ranks by position. The communicator is closed with this. */
  constructor(device: Device, nccl: Nccl, communicator: NcclCommunicator, group: readonly number[]) {
    this.#group = group;
    this.#nccl = nccl;
    this.#communicator = communicator;
    this.#stream = device.createStream();
    this.#forked = device.createEvent();
    this.#joined = device.createEvent();
  }

  /** After what `stream` holds: sends from this step's half of the memory, receives into the next step's. */
  begin({ payloads, position }: OperationOf<'sendAhead'>, here: Addresses, next: Addresses, stream: Stream): void {
    this.#forked.record(stream);
    this.#stream.waitFor(this.#forked);
    this.#isForked = true;
    this.#nccl.group(() => {
      for (const move of payloads) {
        const from = here.of(move.from);
        const to = next.of(move.to);
        if (move.payload.kind === 'neighbors') this.#neighbors(move, position, from, to);
        else this.#gather(move, move.payload.kind === 'moments' ? 0 : move.payload.axis, position, from, to);
      }
    });
  }

  /** Later work on `stream` comes after everything that was sent and received. */
  join(stream: Stream): void {
    if (!this.#isForked) return;
    this.#isForked = false;
    this.#joined.record(this.#stream);
    stream.waitFor(this.#joined);
  }

  /** Ends operations that wait for a peer that is gone. */
  abort(): void {
    this.#communicator.abort();
  }

  close(): void {
    closeAll([this.#communicator, this.#forked, this.#joined, this.#stream]);
  }

  /** `from` lies at its place in the gathered value, as the peers' parts do in `to`. */
  #gather({ from: { shape, type } }: Move, axis: number, position: number, from: bigint, to: bigint): void {
    const outer = product(shape.slice(0, axis));
    const bytes = (product(shape) / outer) * elementBytes[type];
    for (let index = 0; index < outer; index++) {
      const row = BigInt(index * bytes * this.#group.length);
      this.#group.forEach((peer, place) => {
        if (place === position) return;
        this.#communicator.send(from + row, bytes, 'u8', peer, this.#stream);
        this.#communicator.receive(to + row + BigInt(place * bytes), bytes, 'u8', peer, this.#stream);
      });
    }
  }

  /** Beyond the image's edges nothing is received: zeros stay. */
  #neighbors({ from: { shape, type } }: Move, position: number, from: bigint, to: bigint): void {
    const bytes = (product(shape) / 2) * elementBytes[type];
    [this.#group[position - 1], this.#group[position + 1]].forEach((peer, side) => {
      if (peer === undefined) return;
      this.#communicator.send(from + BigInt(side * bytes), bytes, 'u8', peer, this.#stream);
      this.#communicator.receive(to + BigInt(side * bytes), bytes, 'u8', peer, this.#stream);
    });
  }
}
