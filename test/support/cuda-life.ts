/** The life of a rank on a device, in this process: build, load, images, close. What it meets is the caller's to judge. */
import { CudaBackend } from '../../runtime/backends/cuda/index.js';
import { SingleRank } from '../../runtime/collectives/index.js';
import type { Backend } from '../../runtime/engine/index.js';
import { type Model, Pipeline, planComponents, type ImageRequest } from '../../runtime/pipeline/index.js';
import type { Tensor } from '../../runtime/tensor/index.js';

export interface LifeOptions {
  readonly model: Model;
  readonly cacheDirectory: string;
  readonly libraryPath: string;
  /** Tactics timed for each problem. */
  readonly tacticLimit: number;
  readonly timingCache?: string;
  /** What the engines are built for; the first request's size where not given. */
  readonly requests: readonly ImageRequest[];
  readonly onDamage?: (reason: string) => void;
}

export const lifeRequest: ImageRequest = {
  prompt: 'a red fox',
  negativePrompt: undefined,
  height: 64,
  width: 64,
  numInferenceSteps: 2,
  guidanceScale: 5,
  seed: 1n,
};

export interface Life {
  readonly images: readonly Tensor<'f32'>[];
  /** By component: whether its engine was found. */
  readonly cached: ReadonlyMap<string, boolean>;
}

/** Everything is closed when it settles. What fails to close throws only where nothing failed before. */
export async function liveOnDevice(options: LifeOptions): Promise<Life> {
  const { model, requests, cacheDirectory, libraryPath, tacticLimit, timingCache, onDamage = () => undefined } = options;
  const [first = lifeRequest] = requests;
  const { components } = planComponents(model, mesh, 0, { height: first.height, width: first.width, guided: first.guidanceScale > 1 });
  const communicator = new SingleRank();
  const backend: Backend = new CudaBackend({ cacheDirectory, device: 0, libraryPath, communicator, tacticLimit, timingCache, onDamage });
  let life: Life;
  try {
    const cached = new Map<string, boolean>();
    const pipeline = await Pipeline.load({
      model,
      components,
      backend,
      mesh,
      rank: 0,
      observer: (event) => {
        if (event.type === 'engine') cached.set(event.component, event.cached);
      },
    });
    const images: Tensor<'f32'>[] = [];
    for (const [image, request] of requests.entries()) images.push((await pipeline.generate(request, { image })).image);
    await pipeline.close();
    life = { images, cached };
  } catch (error) {
    await backend.close().catch(() => undefined); // Why it is closed counts.
    throw error;
  }
  await backend.close();
  return life;
}

const mesh = { cfg: 1, patch: 1 };
