/** The collectives of interpreted programs. */
import type { Move } from '../../runtime/backends/cuda/plan/operations.js';
import { product } from '../../runtime/backends/cuda/plan/view.js';
import type { Exchange } from './program-interpreter.js';

/** All ranks of a mesh, whose programs are interpreted in one process: an exchange ends when every rank of the world has come to it. */
export class ProgramGang {
  readonly #worldSize: number;
  #waiting = new Map<number, { payloads: readonly Float32Array[]; resolve: (all: ReadonlyMap<number, readonly Float32Array[]>) => void }>();

  constructor(size: number) {
    this.#worldSize = size;
  }

  exchange(rank: number, patchGroup: readonly number[]): Exchange {
    return async (operation, payloads) => {
      const all = await new Promise<ReadonlyMap<number, readonly Float32Array[]>>((resolve) => {
        this.#waiting.set(rank, { payloads, resolve });
        if (this.#waiting.size < this.#worldSize) return;
        const everyone = this.#waiting;
        this.#waiting = new Map();
        const given = new Map([...everyone].map(([each, { payloads: own }]) => [each, own]));
        for (const { resolve: go } of everyone.values()) go(given);
      });
      const group = operation.group === 'world' ? [...all.keys()].sort((a, b) => a - b) : patchGroup;
      return operation.payloads.map((move, index) => exchanged(move, group, rank, (peer) => all.get(peer)?.[index]));
    };
  }
}

function exchanged(
  { payload, from, to }: Move,
  group: readonly number[],
  rank: number,
  given: (rank: number) => Float32Array | undefined,
): Float32Array {
  const result = new Float32Array(product(to.shape));
  const size = product(from.shape);
  if (payload.kind === 'neighbors') {
    const place = group.indexOf(rank);
    const [previous, next] = [group[place - 1], group[place + 1]];
    if (previous !== undefined) result.set(given(previous)?.subarray(size / 2) ?? [], 0);
    if (next !== undefined) result.set(given(next)?.subarray(0, size / 2) ?? [], size / 2);
    return result;
  }
  const outer = payload.kind === 'moments' ? 1 : product(from.shape.slice(0, payload.axis));
  const inner = size / outer;
  group.forEach((peer, place) => {
    for (let row = 0; row < outer; row++) {
      result.set(given(peer)?.subarray(row * inner, (row + 1) * inner) ?? [], (row * group.length + place) * inner);
    }
  });
  return result;
}
