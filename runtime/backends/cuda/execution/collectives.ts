/**
 * A program's collectives by NCCL, on the program's own stream, so that they are captured with everything around them. Everything an
 * exchange carries goes in one group: one kernel. Every rank enqueues the same exchanges in the same order.
 */
import type { Nccl, NcclCommunicator, NcclType, Stream } from '../libraries/index.js';
import type { OperationOf } from '../plan/operations.js';
import { elementBytes, product, type View } from '../plan/view.js';
import type { HalfType } from './kernels.js';
import type { Addresses } from './launch.js';

/** Ranks of the world by their place in the group, and this rank's place. */
export interface Groups {
  readonly rank: number;
  readonly patch: readonly number[];
  readonly world: readonly number[];
}

export interface DeviceCollectives {
  enqueue(operation: OperationOf<'collective'>, addresses: Addresses, stream: Stream): void;
}

export class NcclCollectives implements DeviceCollectives {
  readonly #nccl: Nccl;
  readonly #communicator: NcclCommunicator;
  readonly #groups: Groups;
  readonly #half: HalfType;

  constructor(nccl: Nccl, communicator: NcclCommunicator, groups: Groups, half: HalfType) {
    this.#nccl = nccl;
    this.#communicator = communicator;
    this.#groups = groups;
    this.#half = half;
  }

  enqueue(operation: OperationOf<'collective'>, addresses: Addresses, stream: Stream): void {
    const group = this.#groups[operation.group];
    // Before the group: what is beyond the image's edges reads as zeros.
    for (const { payload, to } of operation.payloads) {
      if (payload.kind === 'neighbors') this.#zeroEdges(group, to, addresses, stream);
    }
    this.#nccl.group(() => {
      for (const { payload, from, to } of operation.payloads) {
        const [source, target] = [addresses.of(from), addresses.of(to)];
        if (payload.kind === 'neighbors') this.#neighbors(group, from, source, target, stream);
        else this.#allGather(group, payload.kind === 'moments' ? 0 : payload.axis, from, source, target, stream);
      }
    });
  }

  #allGather(group: readonly number[], axis: number, from: View, source: bigint, target: bigint, stream: Stream): void {
    const outer = product(from.shape.slice(0, axis));
    const count = product(from.shape) / outer;
    const bytes = BigInt(count * elementBytes[from.type]);
    const type = this.#typeOf(from);
    for (let index = 0n; index < BigInt(outer); index++) {
      const own = source + index * bytes;
      const all = target + index * bytes * BigInt(group.length);
      if (group.length === this.#communicator.worldSize) {
        this.#communicator.allGather(own, all, count, type, stream);
        continue;
      }
      group.forEach((peer, place) => {
        this.#communicator.send(own, count, type, peer, stream);
        this.#communicator.receive(all + BigInt(place) * bytes, count, type, peer, stream);
      });
    }
  }

  #neighbors(group: readonly number[], from: View, source: bigint, target: bigint, stream: Stream): void {
    const count = product(from.shape) / 2;
    const half = BigInt(count * elementBytes[from.type]);
    const type = this.#typeOf(from);
    for (const [side, peer] of this.#sides(group)) {
      if (peer === undefined) continue;
      this.#communicator.send(source + BigInt(side) * half, count, type, peer, stream);
      this.#communicator.receive(target + BigInt(side) * half, count, type, peer, stream);
    }
  }

  #zeroEdges(group: readonly number[], to: View, addresses: Addresses, stream: Stream): void {
    const bytes = (product(to.shape) / 2) * elementBytes[to.type];
    for (const [side, peer] of this.#sides(group)) {
      if (peer === undefined) stream.fill(addresses.of(to) + BigInt(side * bytes), 0, bytes);
    }
  }

  /** The previous and the next rank of the group, where there are such. */
  #sides(group: readonly number[]): readonly (readonly [side: number, peer: number | undefined])[] {
    const place = group.indexOf(this.#groups.rank);
    return [
      [0, place > 0 ? group[place - 1] : undefined],
      [1, group[place + 1]],
    ];
  }

  #typeOf({ type }: View): NcclType {
    if (type === 'f32') return 'f32';
    return this.#half;
  }
}
