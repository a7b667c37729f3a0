/**
 * Latency and bandwidth of the gRPC communicator between two processes on loopback, by payload size.
 *
 *     npx tsc && node dist/bench/collectives.js [--json] [--tls]
 *
 * One exchange is a halo's shape: both ranks send and receive the same number of bytes, and the next one starts when it is
 * complete; its bandwidth counts what one rank receives. One way: rank 0 only sends, with eight exchanges outstanding, and
 * bandwidth is what arrives.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { GrpcCommunicator, type Communicator, type TlsIdentity } from '../runtime/collectives/index.js';
import { localIdentity } from '../runtime/launch/certificates.js';
import { rankNodeOptions } from '../runtime/launch/node-options.js';
import { freePort } from '../test/support/gang.js';

const sizes = [0, 1 << 10, 16 << 10, 128 << 10, 512 << 10, 1 << 20, 4 << 20, 16 << 20];
const warmups = 50;
const secondsPerSize = 1;
const outstanding = 8;
/**
 * As for real ranks. A rank's JavaScript heap is small, so V8 keeps its limit small, counts every received buffer towards
 * it and collects the whole heap every few megabytes: half of the CPU time of a transfer without this.
 */
const rankFlags = [...rankNodeOptions];

interface Row {
  readonly sizeBytes: number;
  readonly exchanges: number;
  readonly medianMicros: number;
  readonly p95Micros: number;
  readonly gigabytesPerSecond: number;
  readonly oneWayGigabytesPerSecond: number;
}

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, tls: { type: 'boolean' }, rank: { type: 'string' }, port: { type: 'string' } },
});
if (values.rank === undefined) await measure();
else await runRank(Number(values.rank), Number(values.port));

async function measure(): Promise<void> {
  const port = await freePort();
  const rows: Row[] = [];
  const ranks = [0, 1].map((rank) =>
    fork(fileURLToPath(import.meta.url), ['--rank', String(rank), '--port', String(port)], {
      stdio: 'inherit',
      execArgv: rankFlags,
    }),
  );
  const identity = values.tls === true ? await localIdentity() : undefined;
  for (const rank of ranks) rank.send({ identity });
  ranks[0]?.on('message', (row) => rows.push(row as Row));
  const codes = await Promise.all(ranks.map((rank) => new Promise((resolve) => rank.once('exit', resolve))));
  if (codes.some((code) => code !== 0)) throw new Error(`the ranks ended with ${codes.join(', ')}`);
  if (values.json === true) {
    process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
    return;
  }
  process.stdout.write('     bytes  exchanges   median µs      p95 µs      GB/s  one way GB/s\n');
  for (const row of rows) {
    const cells = [
      String(row.sizeBytes).padStart(10),
      String(row.exchanges).padStart(10),
      row.medianMicros.toFixed(0).padStart(11),
      row.p95Micros.toFixed(0).padStart(11),
      row.gigabytesPerSecond.toFixed(2).padStart(9),
      row.oneWayGigabytesPerSecond.toFixed(2).padStart(13),
    ];
    process.stdout.write(`${cells.join(' ')}\n`);
  }
}

async function runRank(rank: number, port: number): Promise<void> {
  const { identity } = await new Promise<{ identity?: TlsIdentity }>((resolve) => {
    process.once('message', (message) => {
      resolve(message as { identity?: TlsIdentity });
    });
  });
  await using communicator = await GrpcCommunicator.open({
    rank,
    worldSize: 2,
    coordinator: { host: '127.0.0.1', port },
    listen: { host: '127.0.0.1', port: 0 },
    token: 'benchmark',
    ...(identity === undefined ? {} : { tls: identity }),
    fingerprint: { version: '', modelDigest: '', backend: '', dtype: '', mesh: '', plan: '', job: '' },
  });
  const peer = 1 - rank;
  const verdict = new Uint8Array(1);
  for (const sizeBytes of sizes) {
    const outgoing = new Uint8Array(sizeBytes).fill(rank + 1);
    const incoming = new Uint8Array(sizeBytes);
    const micros: number[] = [];
    const run = (): Promise<void> =>
      communicator.exchange({
        operation: 'halo',
        tag: sizeBytes,
        sends: [{ peer, parts: [outgoing] }],
        receives: [{ peer, parts: [incoming] }],
      });
    for (let index = 0; index < warmups; index++) await run();
    const startedAt = performance.now();
    for (let more = true; more;) {
      for (let index = 0; index < 10; index++) {
        const from = performance.now();
        await run();
        micros.push((performance.now() - from) * 1000);
      }
      more = rank === 0 && performance.now() - startedAt < secondsPerSize * 1000;
      // Rank 0 decides when it is enough.
      verdict[0] = Number(more);
      const message = { peer, parts: [verdict] };
      await communicator.exchange({
        operation: 'verdict',
        tag: 1,
        sends: rank === 0 ? [message] : [],
        receives: rank === 0 ? [] : [message],
      });
      more = verdict[0] === 1;
    }
    if (sizeBytes > 0 && incoming[sizeBytes - 1] !== peer + 1) throw new Error('the payload is not what was sent');
    micros.sort((a, b) => a - b);
    const total = micros.reduce((sum, value) => sum + value, 0);
    const row: Row = {
      sizeBytes,
      exchanges: micros.length,
      medianMicros: micros[Math.floor(micros.length / 2)] ?? 0,
      p95Micros: micros[Math.floor(micros.length * 0.95)] ?? 0,
      gigabytesPerSecond: (sizeBytes * micros.length) / (total * 1000),
      oneWayGigabytesPerSecond: await oneWay(communicator, sizeBytes),
    };
    process.send?.(row);
  }
  process.disconnect();
}

/** What rank 1 receives a second while rank 0 only sends, in GB/s. */
async function oneWay(communicator: Communicator, sizeBytes: number): Promise<number> {
  const rounds = Math.min(Math.ceil((1 << 30) / Math.max(sizeBytes, 1 << 17)), 2_000);
  const payloads = Array.from({ length: outstanding }, () => new Uint8Array(sizeBytes));
  const under: Promise<void>[] = [];
  await communicator.barrier();
  const startedAt = performance.now();
  for (let round = 0; round < rounds; round++) {
    const slot = round % outstanding;
    await under[slot];
    const message = { peer: 1 - communicator.rank, parts: [payloads[slot] ?? new Uint8Array(0)] };
    under[slot] = communicator.exchange({
      operation: 'one_way',
      tag: round,
      sends: communicator.rank === 0 ? [message] : [],
      receives: communicator.rank === 0 ? [] : [message],
    });
  }
  await Promise.all(under);
  await communicator.barrier();
  return (rounds * sizeBytes) / ((performance.now() - startedAt) * 1e6);
}
