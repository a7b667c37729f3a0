/**
 * How far latents made by several GPUs are from those of one, after every step, at full size:
 * `node dist/bench/gpu/rank-error.js --model DIR [--size 1024] [--steps 20] [-n 2] [--cfg-degree 2] [--backend Cuda] [--tactics 1]`.
 *
 * Prints ‖several − one‖ / ‖one‖ of the latents and of what the step changed in them. Both start from the same noise and keep their own
 * latents, so errors add up over the steps. Ranks are processes of this machine, rank i on device i.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { BackendName } from '../../runtime/launch/backend.js';
import { Model, Pipeline, planComponents } from '../../runtime/pipeline/index.js';
import { forkRanks, joinRanks } from './forked-ranks.js';
import { openBackend } from './open-backend.js';

interface Job {
  readonly model: string;
  readonly size: number;
  readonly steps: number;
  readonly backend: BackendName;
  readonly tactics: number;
  readonly cfg: number;
  readonly patch: number;
  readonly port: number;
  readonly cache: string;
  /** Where rank 0 leaves the latents after each step, fp32, one after the other; the noise first. */
  readonly file: string;
}

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    size: { type: 'string', default: '1024' },
    steps: { type: 'string', default: '20' },
    backend: { type: 'string', default: 'Cuda' },
    tactics: { type: 'string', default: '1' },
    ranks: { type: 'string', short: 'n', default: '2' },
    'cfg-degree': { type: 'string', default: '2' },
    rank: { type: 'string' },
  },
});

if (values.rank !== undefined) process.once('message', (job: Job) => void serve(job, Number(values.rank)));
else await main();

async function main(): Promise<void> {
  const { model, backend } = values;
  if (model === undefined) throw new Error('--model DIR is required');
  if (backend !== 'Cuda' && backend !== 'Onnx') throw new Error(`--backend ${backend}: Cuda or Onnx`);
  const [size, steps, tactics, ranks, cfg] = [values.size, values.steps, values.tactics, values.ranks, values['cfg-degree']].map(
    Number,
  ) as [number, number, number, number, number];
  const folder = await mkdtemp(join(tmpdir(), 'sdxl-rank-error-'));
  const latentsOf = async (mesh: { readonly cfg: number; readonly patch: number }): Promise<readonly Float32Array[]> => {
    const file = join(folder, `${String(mesh.cfg)}x${String(mesh.patch)}`);
    const job: Omit<Job, 'port'> = { model, size, steps, backend, tactics, ...mesh, cache: join(folder, 'cache'), file };
    await forkRanks(import.meta.filename, mesh.cfg * mesh.patch, job);
    const { buffer, byteOffset, byteLength } = await readFile(file);
    const all = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
    const each = all.length / (steps + 1);
    return Array.from({ length: steps + 1 }, (_, step) => all.subarray(step * each, (step + 1) * each));
  };
  try {
    const one = await latentsOf({ cfg: 1, patch: 1 });
    const several = await latentsOf({ cfg, patch: ranks / cfg });
    console.log(`${String(size)}², ${String(ranks)} ranks, ${String(cfg)} guidance branches, against one rank, ${backend}:`);
    console.log('step   latents   the step’s change');
    const changes: number[] = [];
    for (let step = 1; step <= steps; step++) {
      const change = relativeError(difference(several, step), difference(one, step));
      changes.push(change);
      const latents = relativeError(several[step] ?? [], one[step] ?? []);
      console.log(`${String(step).padStart(4)}  ${latents.toExponential(2)}  ${change.toExponential(2)}`);
    }
    const sorted = changes.toSorted((a, b) => a - b);
    const [least = Number.NaN, most = Number.NaN] = [sorted[0], sorted.at(-1)];
    console.log(`a step's change: ${least.toExponential(2)} to ${most.toExponential(2)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function serve(job: Job, rank: number): Promise<void> {
  const { size, steps, cfg, patch } = job;
  const mesh = { cfg, patch };
  const communicator = await joinRanks(rank, cfg * patch, job.port, job.backend);
  await using model = await Model.open(job.model);
  const { components } = planComponents(model, mesh, rank);
  const backend = await openBackend({ ...job, cache: join(job.cache, String(rank)) }, communicator);
  const pipeline = await Pipeline.load({ model, components, backend, mesh, rank, observer: () => undefined });
  const latents = new Map<string, Uint8Array>();
  await pipeline.generate(
    {
      prompt: 'flowers, rabbit',
      negativePrompt: undefined,
      height: size,
      width: size,
      numInferenceSteps: steps,
      guidanceScale: 5,
      seed: 233n,
    },
    {
      image: 0,
      capture: (name, { data }) => {
        if (name.includes('latents') && data instanceof Float32Array) latents.set(name, Buffer.from(data.slice().buffer));
      },
    },
  );
  if (rank === 0) {
    const names = ['initial_latents', ...Array.from({ length: steps }, (_, step) => `latents.${String(step)}`)];
    await writeFile(
      job.file,
      Buffer.concat(names.map((name) => latents.get(name) ?? failed(`no ${name} among ${[...latents.keys()].join(', ')}`))),
    );
  }
  await pipeline.close();
  await backend.close();
  await communicator.close();
  process.disconnect();
}

function failed(reason: string): never {
  throw new Error(reason);
}

function difference(latents: readonly Float32Array[], step: number): Float32Array {
  const before = latents[step - 1] ?? [];
  return Float32Array.from(latents[step] ?? [], (value, index) => value - (before[index] ?? 0));
}

function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, scale] = [0, 0];
  for (let index = 0; index < expected.length; index++) {
    error += ((found[index] ?? Number.NaN) - (expected[index] ?? 0)) ** 2;
    scale += (expected[index] ?? 0) ** 2;
  }
  return Math.sqrt(error / scale);
}
