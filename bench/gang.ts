/** Ranks of a mesh in one process, over gRPC on loopback, each with a model loaded. */
import { OnnxBackend } from '../runtime/backends/onnx/index.js';
import { GrpcCommunicator, SingleRank, type Communicator } from '../runtime/collectives/index.js';
import type { Mesh } from '../runtime/parallel/index.js';
import { Model, Pipeline, planComponents, type GeneratedImage, type ImageRequest } from '../runtime/pipeline/index.js';
import { freePort } from '../test/support/gang.js';

export interface GangOptions {
  readonly model: string;
  readonly mesh: Mesh;
  readonly cacheDirectory: string;
  /** Of each rank. */
  readonly threads: number;
  /** May stand between the ranks and their communicators. */
  readonly wrap?: (communicator: Communicator) => Communicator;
}

interface Closable {
  close(): Promise<void>;
}

export class Gang implements AsyncDisposable {
  readonly #pipelines: readonly Pipeline[];
  readonly #owned: readonly (readonly Closable[])[];

  private constructor(pipelines: readonly Pipeline[], owned: readonly (readonly Closable[])[]) {
    this.#pipelines = pipelines;
    this.#owned = owned;
  }

  static async open({ model, mesh, cacheDirectory, threads, wrap = (inner) => inner }: GangOptions): Promise<Gang> {
    const ranks = await Promise.all(
      (await join(mesh.cfg * mesh.patch)).map(async (communicator) => {
        const opened = await Model.open(model);
        const { rank } = communicator;
        const { components } = planComponents(opened, mesh, rank);
        const backend = new OnnxBackend({ cacheDirectory, threads, communicator: wrap(communicator) });
        const pipeline = await Pipeline.load({ model: opened, components, backend, mesh, rank, observer: () => undefined });
        return { pipeline, owned: [backend, communicator, opened] };
      }),
    );
    return new Gang(
      ranks.map(({ pipeline }) => pipeline),
      ranks.map(({ owned }) => owned),
    );
  }

  /** As rank 0 has it. */
  async generate(request: ImageRequest): Promise<GeneratedImage> {
    const [first] = await Promise.all(this.#pipelines.map((pipeline) => pipeline.generate(request, { image: 0 })));
    if (first === undefined) throw new Error('a gang without ranks');
    return first;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const close = async (parts: readonly Closable[]): Promise<void> => {
      for (const part of parts) await part.close();
    };
    await Promise.all(this.#owned.map(close));
  }
}

async function join(worldSize: number): Promise<Communicator[]> {
  if (worldSize === 1) return [new SingleRank()];
  const port = await freePort();
  return Promise.all(
    Array.from({ length: worldSize }, (_, rank) =>
      GrpcCommunicator.open({
        rank,
        worldSize,
        coordinator: { host: '127.0.0.1', port },
        listen: { host: '127.0.0.1', port: 0 },
        token: 'bench',
        fingerprint: { version: '', modelDigest: '', backend: 'onnx', dtype: 'f32', mesh: '', plan: '', job: '' },
      }),
    ),
  );
}
