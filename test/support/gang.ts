/** A gang of ranks in one process, joined over real gRPC on loopback. */
import { GrpcCommunicator, SingleRank, type Communicator } from '../../runtime/collectives/index.js';
import { freePort } from './cluster/ports.js';

export { freePort };

const fingerprint = { version: 'test', modelDigest: 'm', backend: 'onnx', dtype: 'f32', mesh: 'test', plan: 'p', job: 'j' };

/** Runs `body` once per rank at the same time and closes every communicator afterwards. */
export async function withGang<T>(worldSize: number, body: (communicator: Communicator) => Promise<T>): Promise<T[]> {
  if (worldSize === 1) return [await body(new SingleRank())];
  const port = await freePort();
  const communicators = await Promise.all(
    Array.from({ length: worldSize }, (_, rank) =>
      GrpcCommunicator.open({
        rank,
        worldSize,
        coordinator: { host: '127.0.0.1', port },
        listen: { host: '127.0.0.1', port: 0 },
        token: 'secret',
        fingerprint,
        timeouts: { rendezvousMs: 20_000, exchangeMs: 60_000, closeMs: 5_000 },
      }),
    ),
  );
  try {
    return await Promise.all(communicators.map(body));
  } finally {
    await Promise.all(communicators.map((communicator) => communicator.close()));
  }
}
