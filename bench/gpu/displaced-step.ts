/**
 * The denoising step in bands on several GPUs, synchronous and displaced:
 * `node dist/bench/gpu/displaced-step.js --model DIR [-n 2] [--cfg-degree 1] [--sizes 1024] [--modes Synchronous,CorrectedAsyncGn]
 * [--steps 24] [--runs 3] [--tactics 48] [--cache DIR]`.
 *
 * Prints for each size and mode the median, the least and the most of the steps after the warm-up, over all images but the first, which
 * captures the graphs. Ranks are processes of this machine, rank i on device i.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isWarmup, patchModes, type PatchMode } from '../../runtime/parallel/index.js';
import { denoise } from '../../runtime/pipeline/denoise.js';
import { Model, planComponents } from '../../runtime/pipeline/index.js';
import { float32, Generator } from '../../runtime/tensor/index.js';
import { forkRanks, joinRanks } from './forked-ranks.js';
import { openBackend } from './open-backend.js';

interface Job {
  readonly model: string;
  readonly cfg: number;
  readonly patch: number;
  readonly sizes: readonly number[];
  readonly modes: readonly PatchMode[];
  readonly steps: number;
  readonly runs: number;
  readonly tactics: number;
  readonly cache: string;
  readonly port: number;
}

const warmupSteps = 3;

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    ranks: { type: 'string', short: 'n', default: '2' },
    'cfg-degree': { type: 'string', default: '1' },
    sizes: { type: 'string', default: '1024' },
    modes: { type: 'string', default: 'Synchronous,CorrectedAsyncGn' },
    steps: { type: 'string', default: '24' },
    runs: { type: 'string', default: '3' },
    tactics: { type: 'string', default: '48' },
    cache: { type: 'string', default: '/tmp/sdxl-bench-cache' },
    rank: { type: 'string' },
  },
});

if (values.rank !== undefined) process.once('message', (job: Job) => void serve(job, Number(values.rank)));
else await main();

async function main(): Promise<void> {
  const { model, cache } = values;
  if (model === undefined) throw new Error('--model DIR is required');
  const ranks = Number(values.ranks);
  const cfg = Number(values['cfg-degree']);
  await forkRanks(import.meta.filename, ranks, {
    model,
    cfg,
    patch: ranks / cfg,
    sizes: values.sizes.split(',').map(Number),
    modes: values.modes.split(',').flatMap((name) => patchModes.filter((mode) => mode === name)),
    steps: Number(values.steps),
    runs: Number(values.runs),
    tactics: Number(values.tactics),
    cache,
  } satisfies Omit<Job, 'port'>);
}

async function serve(job: Job, rank: number): Promise<void> {
  const mesh = { cfg: job.cfg, patch: job.patch };
  const communicator = await joinRanks(rank, job.cfg * job.patch, job.port, 'Cuda');
  const print = (text: string): void => {
    if (rank === 0) console.log(text);
  };
  await using model = await Model.open(job.model);
  for (const size of job.sizes) {
    const backend = await openBackend({ ...job, cache: join(job.cache, String(rank)) }, communicator);
    const { components } = planComponents(model, mesh, rank, { height: size, width: size, guided: true });
    const engine = await backend.prepare(components.unet);
    print(`${String(size)}²: engine ${engine.cached ? 'found' : 'built'} in ${engine.buildSeconds.toFixed(1)} s`);
    const unet = await backend.load(engine);
    for (const mode of job.modes) {
      const seconds: number[] = [];
      for (let run = 0; run <= job.runs; run++) {
        await image(job, { model, unet, mesh, rank, size, mode, run }, (step, taken) => {
          if (run > 0 && !isWarmup(step, warmupSteps)) seconds.push(taken * 1000);
        });
      }
      const sorted = seconds.toSorted((a, b) => a - b);
      const [least = Number.NaN, median = Number.NaN, most = Number.NaN] = [
        sorted[0],
        sorted[Math.floor(sorted.length / 2)],
        sorted.at(-1),
      ];
      print(
        `${String(size)}², cfg ${String(mesh.cfg)} × patch ${String(mesh.patch)}, ${mode}: median ${median.toFixed(2)} ms of ` +
          `${String(sorted.length)} steps, least ${least.toFixed(2)}, most ${most.toFixed(2)}`,
      );
    }
    await unet.close();
    await backend.close();
  }
  await communicator.close();
  process.disconnect();
}

type Run = Pick<Parameters<typeof denoise>[1], 'unet' | 'mesh' | 'rank'> & {
  readonly model: Model;
  readonly size: number;
  readonly mode: PatchMode;
  readonly run: number;
};

/** Random latents and conditioning, equal on every rank. */
async function image(
  { steps }: Job,
  { model, unet, mesh, rank, size, mode, run }: Run,
  onStep: (step: number, seconds: number) => void,
): Promise<void> {
  const { config } = model.parts.unet;
  const batch = 2 / mesh.cfg;
  const random = (shape: readonly number[], seed: bigint) => new Generator(seed).randn(shape);
  const times = [size, size, 0, 0, size, size];
  const schedule = model.scheduler().setTimesteps(steps);
  const generator = new Generator(BigInt(run));
  const latents = generator.randn([1, config.inChannels, size / model.vaeScaleFactor, size / model.vaeScaleFactor]);
  latents.data.forEach((value, index) => (latents.data[index] = value * schedule.initNoiseSigma));
  await denoise(latents, {
    unet,
    mesh,
    patches: mode === 'Synchronous' ? undefined : { mode, warmupSteps },
    rank,
    schedule,
    numInferenceSteps: steps,
    generator,
    conditioning: {
      encoder_hidden_states: random([batch, 77, config.crossAttentionDim], 1n),
      text_embeds: random([batch, config.additionInputDim - 6 * config.additionTimeEmbedDim], 2n),
      time_ids: float32(
        [batch, 6],
        Float32Array.from({ length: batch * 6 }, (_, index) => times[index % 6] ?? 0),
      ),
    },
    guidance: { scale: 5, rescale: 0 },
    image: run,
    observer: (event) => {
      if (event.type === 'step') onStep(event.step - 1, event.seconds);
    },
    signal: undefined,
  });
}
