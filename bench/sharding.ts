/**
 * Speed of synchronous patches over gRPC against one uncut session, one thread per rank, in one run:
 * `npm run build && node dist/bench/sharding.js [--size 512] [--rounds 9] [--patch 2]`.
 *
 * Three processes or more hold the medium model's UNet (random weights, made on the spot): one alone, and the ranks of a 1×n mesh.
 * Rounds alternate between them, so that a noisy machine troubles both; figures are medians of one UNet call (a CFG step, batch 2).
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { OnnxBackend } from '../runtime/backends/onnx/index.js';
import { GrpcCommunicator, SingleRank, type Communicator } from '../runtime/collectives/index.js';
import type { RunTiming } from '../runtime/engine/index.js';
import { countFlops } from '../runtime/graph/index.js';
import { planComponents } from '../runtime/pipeline/components.js';
import { bandInputs } from '../runtime/pipeline/bands.js';
import { Model } from '../runtime/pipeline/model.js';
import type { Mesh } from '../runtime/parallel/index.js';
import { float32, Generator, type Tensor } from '../runtime/tensor/index.js';
import { rankNodeOptions } from '../runtime/launch/node-options.js';
import { writeRandomModel } from './models/random-model.js';

interface Job {
  readonly model: string;
  readonly cache: string;
  readonly size: number;
  readonly mesh: Mesh;
  readonly rank: number;
  readonly port: number;
}

interface Measured {
  readonly timings: readonly RunTiming[];
}

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '9' },
    patch: { type: 'string', default: '2' },
    child: { type: 'boolean', default: false },
  },
});

if (values.child) {
  process.once('message', (job: Job) => void serve(job));
} else {
  await main(Number(values.size), Number(values.rounds), Number(values.patch));
}

async function main(size: number, rounds: number, patch: number): Promise<void> {
  const root = join(tmpdir(), 'sdxl-operator-bench');
  const model = join(root, 'medium');
  await writeRandomModel('medium', model, 'f32');
  const port = 29_500 + (process.pid % 1000);
  const start = async (mesh: Mesh): Promise<ChildProcess[]> => {
    const ranks = Array.from({ length: mesh.patch }, (_, rank) => {
      const child = fork(import.meta.filename, ['--child'], { execArgv: [...rankNodeOptions] });
      child.send({ model, cache: join(root, 'cache'), size, mesh, rank, port } satisfies Job);
      return child;
    });
    await Promise.all(ranks.map((child) => once(child, 'message')));
    return ranks;
  };
  const alone = await start({ cfg: 1, patch: 1 });
  const gang = await start({ cfg: 1, patch });
  const times = { alone: [] as RunTiming[], gang: [] as RunTiming[] };
  const round = async (children: readonly ChildProcess[]): Promise<RunTiming> => {
    const replies = children.map(async (child) => (await once(child, 'message')) as [Measured]);
    for (const child of children) child.send('run');
    const [[first]] = (await Promise.all(replies)) as [[Measured]];
    return first.timings[0] as RunTiming;
  };
  for (let index = 0; index < rounds + 2; index++) {
    const [a, g] = [await round(alone), await round(gang)];
    // The first two warm caches and pools.
    if (index < 2) continue;
    times.alone.push(a);
    times.gang.push(g);
  }
  for (const child of [...alone, ...gang]) child.send('stop');
  await report(model, size, patch, times);
}

async function report(model: string, size: number, patch: number, times: { alone: RunTiming[]; gang: RunTiming[] }): Promise<void> {
  await using opened = await Model.open(model);
  const whole = planComponents(opened, { cfg: 1, patch: 1 }, 0).components.unet.graph;
  const latents = size / opened.vaeScaleFactor;
  const flops = countFlops(whole, { batch: 2, height: latents, width: latents, tokens: 77 });
  const alone = median(times.alone.map(({ totalSeconds }) => totalSeconds));
  const gang = median(times.gang.map(({ totalSeconds }) => totalSeconds));
  const exchange = median(times.gang.map(({ exchangeSeconds }) => exchangeSeconds));
  const [sample] = times.gang;
  const lines = [
    `${(flops / 1e9).toFixed(1)} GFLOP a step at ${String(size)}², ${String(times.alone.length)} rounds, medians`,
    `1 rank, uncut    ${(alone * 1e3).toFixed(1)} ms  ${(flops / alone / 1e9).toFixed(1)} GFLOP/s`,
    `${String(patch)} ranks, patches ${(gang * 1e3).toFixed(1)} ms  speed-up ${(alone / gang).toFixed(2)}×`,
    `in exchanges     ${(exchange * 1e3).toFixed(1)} ms  ${((100 * exchange) / gang).toFixed(1)} % of the step (waiting for the slower rank included)`,
    `compute          ${((gang - exchange) * 1e3).toFixed(1)} ms`,
    `exchanges a step ${String(sample?.exchanges)}, ${((sample?.sentBytes ?? 0) / 1e6).toFixed(2)} MB sent by each rank`,
    '',
  ];
  process.stdout.write(lines.join('\n'));
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? Number.NaN) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

async function serve(job: Job): Promise<void> {
  const { mesh, rank, size } = job;
  const world = mesh.cfg * mesh.patch;
  const communicator: Communicator =
    world === 1
      ? new SingleRank()
      : await GrpcCommunicator.open({
          rank,
          worldSize: world,
          coordinator: { host: '127.0.0.1', port: job.port },
          listen: { host: '127.0.0.1', port: 0 },
          token: 'bench',
          fingerprint: { version: '', modelDigest: '', backend: 'onnx', dtype: 'f32', mesh: '', plan: '', job: '' },
        });
  await using model = await Model.open(job.model);
  const { components } = planComponents(model, mesh, rank);
  const backend = new OnnxBackend({ cacheDirectory: job.cache, threads: 1, communicator });
  const executor = await backend.load(await backend.prepare(components.unet));
  const { unet } = model.parts;
  const latent = size / model.vaeScaleFactor;
  const random = new Generator(1);
  const inputs: Record<string, Tensor> = {
    ...bandInputs('sample', random.randn([2, 4, latent, latent]), mesh, rank),
    timestep: float32([1], Float32Array.of(500)),
    encoder_hidden_states: random.randn([2, 77, unet.config.crossAttentionDim]),
    text_embeds: random.randn([2, unet.config.additionInputDim - 6 * unet.config.additionTimeEmbedDim]),
    time_ids: float32([2, 6], Float32Array.from([size, size, 0, 0, size, size, size, size, 0, 0, size, size])),
  };
  process.on('message', (message) => {
    void (async (): Promise<void> => {
      if (message === 'run') {
        const { timing } = await executor.run(inputs);
        process.send?.({ timings: [timing] } satisfies Measured);
        return;
      }
      await backend.close();
      await communicator.close();
      process.disconnect();
    })();
  });
  process.send?.('ready');
}
