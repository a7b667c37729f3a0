/**
 * Binds the displaced step once for each half of the memory that steps leave to each other. Launches that touch neither half are the same
 * in all forms of the step.
 */
import { buffersOf } from '../plan/memory.js';
import type { Operation } from '../plan/operations.js';
import { displacedForms, type Program } from '../plan/program.js';
import type { AheadExchanges } from './ahead.js';
import { bindOperation, type BindContext } from './bind.js';
import type { Addresses, Launch } from './launch.js';

/** By form. `synchronous`: the launches of the step during the warm-up. */
export async function bindDisplaced(
  program: Program,
  halves: readonly [Addresses, Addresses],
  { ahead, ...context }: BindContext & { readonly ahead: AheadExchanges },
  synchronous: readonly Launch[],
): Promise<Launch[][]> {
  const operations = program.displaced ?? [];
  const isHalved = (operation: Operation): boolean =>
    [...buffersOf(operation)].some((buffer) => program.memory.places.get(buffer)?.block === 'halved');
  const known = new Map(synchronous.map((launch) => [launch.operation, launch]));
  const bound: Launch[][] = [];
  for (const form of displacedForms(program)) {
    const [addresses, next] = form === 0 ? halves : [halves[1], halves[0]];
    const launches: Launch[] = [];
    for (const operation of operations) {
      const shared = isHalved(operation) ? undefined : known.get(operation);
      const launch = shared ?? (await bindOperation(operation, { ...context, addresses, displaced: { next, ahead } }));
      known.set(operation, launch);
      launches.push(launch);
    }
    bound.push(launches);
  }
  return bound;
}
