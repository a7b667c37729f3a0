/** One rank of a model on the first device: as test/support/rank.ts, with the CUDA backend. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CudaBackend } from '../../runtime/backends/cuda/index.js';
import { SingleRank } from '../../runtime/collectives/index.js';
import { Model, Pipeline, planComponents, type ModelComponents } from '../../runtime/pipeline/index.js';
import type { Component, Executor } from '../../runtime/engine/index.js';

export interface CudaRank {
  readonly model: Model;
  readonly components: ModelComponents;
  load(component: Component): Promise<Executor>;
  pipeline(): Promise<Pipeline>;
}

export interface CudaRankOptions {
  /** Kept where given; else a folder of its own, removed at the end. */
  readonly cacheDirectory?: string;
  readonly tacticLimit?: number;
}

const mesh = { cfg: 1, patch: 1 };

export async function onDevice<T>(directory: string, body: (rank: CudaRank) => Promise<T>, options: CudaRankOptions = {}): Promise<T> {
  const cacheDirectory = options.cacheDirectory ?? (await mkdtemp(join(tmpdir(), 'sdxl-test-cache-')));
  await using model = await Model.open(directory);
  const { components } = planComponents(model, mesh, 0);
  const backend = new CudaBackend({
    cacheDirectory,
    device: 0,
    libraryPath: process.env['SDXL_CUDA_LIBRARY_PATH'],
    communicator: new SingleRank(),
    tacticLimit: options.tacticLimit ?? 1,
  });
  try {
    return await body({
      model,
      components,
      load: async (component) => backend.load(await backend.prepare(component)),
      pipeline: () => Pipeline.load({ model, components, backend, mesh, rank: 0, observer: () => undefined }),
    });
  } finally {
    await backend.close();
    if (options.cacheDirectory === undefined) await rm(cacheDirectory, { recursive: true, force: true });
  }
}
