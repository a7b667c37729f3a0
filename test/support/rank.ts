/** One rank of a test gang: a model, its components on a mesh, a backend, everything closed at the end. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OnnxBackend } from '../../runtime/backends/onnx/index.js';
import type { Communicator } from '../../runtime/collectives/index.js';
import type { Component, Executor } from '../../runtime/engine/index.js';
import { Model, Pipeline, planComponents, type ModelComponents, type ModelSource } from '../../runtime/pipeline/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import { withGang } from './gang.js';

export interface Rank {
  readonly rank: number;
  readonly mesh: Mesh;
  readonly model: Model;
  readonly components: ModelComponents;
  load(component: Component): Promise<Executor>;
  pipeline(): Promise<Pipeline>;
}

export interface MeshOptions {
  /** May stand between the executors and the communicator. */
  readonly wrap?: (communicator: Communicator) => Communicator;
  /** Layers that the text encoders are planned without. */
  readonly clipSkip?: number;
}

/** Runs `body` on every rank of the mesh at once. */
export async function onMesh<T>(
  source: string | ModelSource,
  mesh: Mesh,
  body: (rank: Rank) => Promise<T>,
  options: MeshOptions = {},
): Promise<T[]> {
  const wrap = options.wrap ?? ((communicator: Communicator): Communicator => communicator);
  const cacheDirectory = await mkdtemp(join(tmpdir(), 'sdxl-test-cache-'));
  try {
    return await withGang(mesh.cfg * mesh.patch, async (communicator) => {
      await using model = await Model.open(source);
      await model.materialize({ cacheDirectory, dtype: 'f32' });
      const { rank } = communicator;
      const { components } = planComponents(model, mesh, rank, undefined, options);
      const backend = new OnnxBackend({ cacheDirectory, threads: 1, communicator: wrap(communicator) });
      try {
        return await body({
          rank,
          mesh,
          model,
          components,
          load: async (component) => backend.load(await backend.prepare(component)),
          pipeline: () => Pipeline.load({ model, components, backend, mesh, rank, observer: () => undefined }),
        });
      } finally {
        await backend.close();
      }
    });
  } finally {
    await rm(cacheDirectory, { recursive: true, force: true });
  }
}
