/** The denoising loop of one image on a mesh: every rank keeps the whole latents and runs its own band and branch. */
import type { RunKind } from '../engine/index.js';
import { displacementOf, isWarmup } from '../parallel/index.js';
import { LinearStepRun } from '../schedulers/index.js';
import { float32, type Tensor } from '../tensor/index.js';
import { bandInputs, floatOutput, joinBands } from './bands.js';
import { notFinite, stepAt, type DenoiseOptions } from './denoise-options.js';
import { denoiseOnDevice } from './device-denoise.js';
import { guide } from './guidance.js';

/** Latents `[1, c, h, w]` at the schedule's first noise level → latents without noise. Throws IMAGE_NOT_FINITE naming the step. */
export async function denoise(latents: Tensor<'f32'>, options: DenoiseOptions): Promise<Tensor<'f32'>> {
  const { unet, mesh, patches, rank, schedule, generator, conditioning, guidance, image, observer, signal, capture } = options;
  // What is captured after each step, and the spread by which guidance is scaled back, are taken on the host.
  const onHost = capture !== undefined || (guidance?.rescale ?? 0) > 0;
  if (unet.denoise !== undefined && !onHost) return denoiseOnDevice(latents, unet.denoise.bind(unet), options);
  const run = new LinearStepRun(schedule, generator);
  const localBranches = conditioning.encoder_hidden_states.shape[0] ?? 1;
  const steps = schedule.timesteps.length;
  const displacement = patches === undefined || mesh.patch === 1 ? undefined : displacementOf(patches.mode);
  const displaced = displacement === undefined ? undefined : unet.displace(displacement);
  let sample = latents.data;
  for (let index = 0; index < steps; index++) {
    const started = performance.now();
    const scaled = float32(latents.shape, run.scaleModelInput(sample, index));
    const inputs = {
      ...conditioning,
      ...bandInputs('sample', repeatBatch(scaled, localBranches), mesh, rank),
      timestep: float32([1], schedule.timesteps.slice(index, index + 1)),
    };
    const kind: RunKind = isWarmup(index, patches?.warmupSteps ?? steps) ? 'fresh' : index + 1 < steps ? 'displaced' : 'last';
    const { outputs, timing } = await (displaced === undefined ? unet.run(inputs, signal) : displaced.run(inputs, kind, signal));
    const noise = joinBands(floatOutput(outputs, 'out_sample'), mesh);
    const guided = guidance === undefined ? noise.data : guide(noise, guidance);
    if (!guided.every(Number.isFinite)) throw notFinite(stepAt(index, options));
    sample = run.step(guided, index, sample);
    capture?.(`latents.${String(index)}`, float32(latents.shape, Float32Array.from(sample)));
    const { exchangeSeconds, exchanges, sentBytes } = timing;
    const seconds = (performance.now() - started) / 1000;
    observer({ type: 'step', image, ...stepAt(index, options), seconds, exchangeSeconds, exchanges, sentBytes });
  }
  await displaced?.end();
  return float32(latents.shape, sample);
}

function repeatBatch(sample: Tensor<'f32'>, times: number): Tensor<'f32'> {
  if (times === 1) return sample;
  const repeated = float32([times, ...sample.shape.slice(1)]);
  for (let index = 0; index < times; index++) repeated.data.set(sample.data, index * sample.data.length);
  return repeated;
}
