/** One image of a job on this process's only rank, with everything on the way to it kept: what `sdxl verify` compares. */
import { SingleRank } from '../collectives/index.js';
import { SdxlError } from '../errors/index.js';
import { gangSize } from '../parallel/index.js';
import { Pipeline, planComponents } from '../pipeline/index.js';
import type { Tensor } from '../tensor/index.js';
import { createBackend, resolveBackend } from './backend.js';
import { readBudget, threadsPerRank } from './budget.js';
import type { LocalJob } from './cluster-fields.js';
import { meshOf, toJobRequest } from './job-request.js';
import { openModel } from './launch.js';
import { checkMemory } from './memory-check.js';

export interface CaptureOptions {
  readonly cacheDirectory: string;
  /** Folders in which NVIDIA's libraries are looked for first. */
  readonly cudaLibraryPath: string | undefined;
  readonly signal: AbortSignal;
  readonly onNote: (note: string) => void;
}

/** Stages by the names of runtime/verify. */
export async function captureStages(
  { spec }: LocalJob,
  { cacheDirectory, cudaLibraryPath, signal, onNote }: CaptureOptions,
): Promise<Map<string, Tensor<'f32'>>> {
  const mesh = { cfg: 1, patch: 1 };
  if (gangSize(meshOf(spec)) > 1) {
    throw new SdxlError('USAGE', 'stages are compared on one rank: give no degrees, or compare a finished image with --image');
  }
  await using model = await openModel(spec.model);
  const budget = readBudget();
  const { components } = planComponents(model, mesh, 0, undefined, spec);
  if (resolveBackend(spec.backend) === 'Onnx')
    checkMemory(model, components, spec, 1, { bytes: budget.memoryBytes, source: budget.memorySource });
  const backend = await createBackend(spec.backend, {
    cacheDirectory,
    threads: threadsPerRank(budget, 1),
    communicator: new SingleRank(),
    device: 0,
    libraryPath: cudaLibraryPath,
    tacticLimit: 1,
    onDamage: onNote,
  });
  try {
    await model.materialize({ cacheDirectory, dtype: backend.dtype === 'f16' ? 'f16' : 'f32', signal, onNote });
    const pipeline = await Pipeline.load({ model, components, backend, mesh, rank: 0, observer: () => undefined, signal });
    const stages = new Map<string, Tensor<'f32'>>();
    const capture = (stage: string, value: Tensor<'f32'>): void => void stages.set(stage, value);
    const { image, latents } = await pipeline.generate(toJobRequest({ name: '', spec }).first, { image: 0, signal, capture });
    await pipeline.close();
    return stages.set('latents', latents).set('image', image);
  } finally {
    await backend.close();
  }
}
