/** Opens gangs of gRPC ranks within one process, for tests. */
import { GrpcCommunicator, type Fingerprint, type GrpcCommunicatorOptions } from '../../../runtime/collectives/index.js';
import { freePort } from '../../support/cluster/ports.js';

export { freePort };

export const fingerprint: Fingerprint = {
  version: '0.1.0',
  modelDigest: 'sha256:0',
  backend: 'onnx',
  dtype: 'f32',
  mesh: 'cfg=1,patch=2',
  plan: 'sha256:1',
  job: 'sha256:2',
};

export const token = 'a token that only this gang knows';

export function rankOptions(rank: number, worldSize: number, port: number): GrpcCommunicatorOptions {
  return {
    rank,
    worldSize,
    coordinator: { host: '127.0.0.1', port },
    listen: { host: '127.0.0.1', port: 0 },
    token,
    fingerprint,
    timeouts: { rendezvousMs: 30_000, exchangeMs: 30_000, closeMs: 3_000 },
  };
}

/** Opens every rank; `change` adapts a rank's options. */
export async function openGang(
  worldSize: number,
  change: (options: GrpcCommunicatorOptions, rank: number) => GrpcCommunicatorOptions = (options) => options,
): Promise<GrpcCommunicator[]> {
  const port = await freePort();
  return Promise.all(
    Array.from({ length: worldSize }, (_, rank) => GrpcCommunicator.open(change(rankOptions(rank, worldSize, port), rank))),
  );
}

/** The sockets and servers this process holds. */
export function liveSockets(): string[] {
  return process.getActiveResourcesInfo().filter((name) => /TCP|Pipe|TLS/u.test(name));
}
