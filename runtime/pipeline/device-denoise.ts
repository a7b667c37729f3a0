/** The denoising loop where the backend keeps it on its device: the schedule goes there as data, and events come back. */
import type { Executor } from '../engine/index.js';
import { drawNoise, type LinearStep } from '../schedulers/index.js';
import type { Tensor } from '../tensor/index.js';
import { displacementOf, isWarmup, placeInMesh } from '../parallel/index.js';
import { notFinite, stepAt, type DenoiseOptions } from './denoise-options.js';

/** As `denoise`, by the executor's own loop. */
export async function denoiseOnDevice(
  latents: Tensor<'f32'>,
  run: NonNullable<Executor['denoise']>,
  options: DenoiseOptions,
): Promise<Tensor<'f32'>> {
  const { mesh, patches, rank, schedule, generator, conditioning, guidance, image, observer, unet, signal } = options;
  const steps = schedule.steps.length;
  const exchanges = unet.plan.steps.filter(({ kind }) => kind === 'exchange').length;
  const { latents: denoised, badStep } = await run(
    {
      latents,
      constants: { ...conditioning },
      timesteps: schedule.timesteps,
      coefficients: Float32Array.from(schedule.steps.flatMap(coefficientsOf)),
      noises: schedule.steps.map((step) => drawNoise(step, generator, latents.data.length)),
      guidanceScale: guidance?.scale,
      displacement: patches === undefined || mesh.patch === 1 ? undefined : displacementOf(patches.mode),
      freshSteps: schedule.steps.filter((_, index) => isWarmup(index, patches?.warmupSteps ?? steps)).length,
      place: { cfg: mesh.cfg, patch: mesh.patch, patchIndex: placeInMesh(mesh, rank).patchIndex },
      onStep: (index, seconds) => {
        observer({ type: 'step', image, ...stepAt(index, options), seconds, exchangeSeconds: undefined, exchanges, sentBytes: undefined });
      },
    },
    signal,
  );
  if (badStep !== undefined) throw notFinite(stepAt(badStep, options));
  return denoised;
}

/** In the order of their declaration, which the device's kernel shares. */
function coefficientsOf({ inputScale, converted, anchor, next }: LinearStep): number[] {
  return [
    inputScale,
    converted.sample,
    converted.output,
    anchor.sample,
    anchor.anchor,
    ...anchor.converted,
    next.anchor,
    ...next.converted,
    next.noise,
  ];
}
