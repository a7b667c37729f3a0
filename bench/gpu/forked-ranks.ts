/** Ranks of a benchmark: processes of this machine, rank i on device i. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { GrpcCommunicator, SingleRank, type Communicator } from '../../runtime/collectives/index.js';
import { rankNodeOptions } from '../../runtime/launch/node-options.js';

/** Runs `script` as `--rank i` for each rank and sends it the job, with a port to meet at; waits for all, and throws where one fails. */
export async function forkRanks(script: string, ranks: number, job: object): Promise<void> {
  const port = 29_500 + (process.pid % 1000);
  const children = Array.from({ length: ranks }, (_, rank) => {
    const child = fork(script, ['--rank', String(rank)], { execArgv: [...rankNodeOptions] });
    child.send({ ...job, port });
    return child;
  });
  try {
    const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit')) as [number | null]));
    if (codes.some(([code]) => code !== 0)) throw new Error(`ranks ended with ${codes.map(([code]) => String(code)).join(', ')}`);
  } finally {
    for (const child of children) child.kill();
  }
}

/** In a rank: its communicator with the others. */
export async function joinRanks(rank: number, worldSize: number, port: number, backend: string): Promise<Communicator> {
  if (worldSize === 1) return new SingleRank();
  return GrpcCommunicator.open({
    rank,
    worldSize,
    coordinator: { host: '127.0.0.1', port },
    listen: { host: '127.0.0.1', port: 0 },
    token: 'bench',
    fingerprint: { version: '', modelDigest: '', backend, dtype: '', mesh: '', plan: '', job: '' },
  });
}
