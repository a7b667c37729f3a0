/**
 * The denoising step on one GPU, and where its time goes:
 * `node dist/bench/gpu/step.js --model DIR [--size 1024] [--steps 20] [--runs 20] [--batch 2] [--cache DIR] [--json FILE]`.
 *
 * Prints the median step of the captured loop, then every group of equal operations, each captured and timed by itself in the same
 * process, in the program's own buffers and with its own weights: the sum of the libraries' groups is what their kernels alone need.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { CudaExecutor, type ProfiledLaunch } from '../../runtime/backends/cuda/cuda-executor.js';
import type { Operation } from '../../runtime/backends/cuda/plan/operations.js';
import { flopsOf } from '../../runtime/backends/cuda/plan/print.js';
import { Model, planComponents } from '../../runtime/pipeline/index.js';
import { componentSizes } from '../../runtime/pipeline/component-sizes.js';
import { denoise } from '../../runtime/pipeline/denoise.js';
import { float32, Generator } from '../../runtime/tensor/index.js';
import { openBackend } from './open-backend.js';

const libraryKinds: ReadonlySet<Operation['kind']> = new Set(['gemm', 'gatedGemm', 'conv', 'attention']);

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    size: { type: 'string', default: '1024' },
    steps: { type: 'string', default: '20' },
    runs: { type: 'string', default: '3' },
    batch: { type: 'string', default: '2' },
    cache: { type: 'string', default: '/tmp/sdxl-bench-cache' },
    tactics: { type: 'string', default: '48' },
    json: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});
if (values.model === undefined) throw new Error('--model DIR is required');
const [size, steps, runs, batch] = [values.size, values.steps, values.runs, values.batch].map(Number) as [number, number, number, number];
const guided = batch === 2;

await using model = await Model.open(values.model);
const mesh = { cfg: 1, patch: 1 };
const imageSize = { height: size, width: size, guided };
const { components } = planComponents(model, mesh, 0, imageSize);
const backend = await openBackend(values);
const engine = await backend.prepare(components.unet);
console.log(`engine: ${engine.cached ? 'found' : 'built'} in ${engine.buildSeconds.toFixed(1)} s`);
let began = performance.now();
const executor = await backend.load(engine);
if (!(executor instanceof CudaExecutor)) throw new Error('not a CUDA executor');
console.log(`loaded in ${((performance.now() - began) / 1000).toFixed(1)} s`);

const random = (shape: readonly number[], seed: bigint) => new Generator(seed).randn(shape);
const { config } = model.parts.unet;
const factor = model.vaeScaleFactor;
const shape = [1, config.inChannels, size / factor, size / factor];
const conditioning = {
  encoder_hidden_states: random([batch, 77, config.crossAttentionDim], 1n),
  text_embeds: random([batch, config.additionInputDim - 6 * config.additionTimeEmbedDim], 2n),
  time_ids: float32(
    [batch, 6],
    Float32Array.from({ length: batch * 6 }, (_, index) => [size, size, 0, 0, size, size][index % 6] ?? 0),
  ),
};
const schedule = model.scheduler().setTimesteps(steps);
const seconds: number[] = [];
for (let run = 0; run <= runs; run++) {
  const generator = new Generator(BigInt(run));
  const latents = generator.randn(shape);
  latents.data.forEach((value, index) => (latents.data[index] = value * schedule.initNoiseSigma));
  began = performance.now();
  await denoise(latents, {
    unet: executor,
    mesh,
    patches: undefined,
    rank: 0,
    schedule,
    numInferenceSteps: steps,
    generator,
    conditioning,
    guidance: guided ? { scale: 5, rescale: 0 } : undefined,
    image: run,
    observer: (event) => {
      // The first image captures the graph.
      if (event.type === 'step' && run > 0) seconds.push(event.seconds);
    },
    signal: undefined,
  });
  console.log(`image ${String(run)}: ${((performance.now() - began) / 1000).toFixed(3)} s for ${String(steps)} steps`);
}
const median = medianOf(seconds);
console.log(
  `step at ${String(size)}², batch ${String(batch)}: median ${(median * 1000).toFixed(2)} ms of ${String(seconds.length)}, ` +
    `least ${(Math.min(...seconds) * 1000).toFixed(2)}, most ${(Math.max(...seconds) * 1000).toFixed(2)}`,
);
const { memory } = executor.describe();
console.log(`device memory in use: ${(memory.usedBytes / 2 ** 30).toFixed(2)} GiB`);

if (values.profile) {
  console.log(`nodes: ${JSON.stringify(await executor.countNodes(componentSizes(model, mesh, imageSize).unet))}`);
  const sizes = componentSizes(model, mesh, imageSize).unet;
  const launches = await executor.profile(sizes);
  printProfile(launches, median * 1000);
  // In one graph each, replayed as long as a job's images take: what a kind of operation costs is what its absence saves.
  const all = new Set(launches.map(({ kind }) => kind));
  const replays = Math.min(100, Math.max(15, Math.round(2.5 / median)));
  const sustained = async (kinds: ReadonlySet<Operation['kind']>, libraryParts = false): Promise<number> =>
    medianOf((await executor.timeKinds(sizes, kinds, replays, { libraryParts })).slice(Math.floor(replays * 0.3)));
  const whole = await sustained(all);
  console.log(`one graph of all operations: ${whole.toFixed(2)} ms`);
  for (const kind of all) {
    const without = await sustained(new Set([...all].filter((other) => other !== kind)));
    console.log(`  without ${kind.padEnd(10)} ${without.toFixed(2)} ms, ${(whole - without).toFixed(2)} less`);
  }
  const alone = await sustained(new Set([...all].filter((kind) => libraryKinds.has(kind))), true);
  console.log(`  library kernels alone ${alone.toFixed(2)} ms: the step is ${((median * 1000) / alone).toFixed(3)} × that`);
  if (values.json !== undefined) await writeFile(values.json, JSON.stringify({ size, batch, median, seconds, launches }, null, 1));
}
await executor.close();
await backend.close();

function printProfile(groups: readonly ProfiledLaunch[], stepMs: number): void {
  const total = (chosen: readonly ProfiledLaunch[]): number => chosen.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  console.log('kind       count      ms   TFLOP/s  shape, tactic');
  for (const group of [...groups].sort((a, b) => b.milliseconds - a.milliseconds)) {
    const flops = group.operations.reduce((sum, operation) => sum + flopsOf(operation), 0);
    const rate = flops === 0 ? '' : (flops / group.milliseconds / 1e9).toFixed(0);
    console.log(
      `${group.kind.padEnd(12)} ${String(group.operations.length).padStart(4)} ${group.milliseconds.toFixed(3).padStart(8)} ${rate.padStart(8)}  ${group.label}`,
    );
  }
  const byLibrary = total(groups.filter(({ kind }) => libraryKinds.has(kind)));
  console.log(
    `sum of groups ${total(groups).toFixed(2)} ms, of library kernels alone ${byLibrary.toFixed(2)} ms: the step is ${(stepMs / byLibrary).toFixed(3)} × that`,
  );
}

function medianOf(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
