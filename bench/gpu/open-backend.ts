/** The backend of a benchmark on one device, from its options. */
import { SingleRank } from '../../runtime/collectives/index.js';
import type { Backend } from '../../runtime/engine/index.js';
import { createBackend } from '../../runtime/launch/backend.js';

export interface BackendChoice {
  /** Cuda, unless another is given. */
  readonly backend?: string;
  /** Where engines are kept. */
  readonly cache: string;
  /** Tactics timed for each problem; 1 for none. */
  readonly tactics: string;
}

/** On the first device; libraries are looked for where SDXL_CUDA_LIBRARY_PATH says. The caller closes it. */
export function openBackend({ backend = 'Cuda', cache, tactics }: BackendChoice): Promise<Backend> {
  if (backend !== 'Cuda' && backend !== 'Onnx') throw new Error(`--backend ${backend}: Cuda or Onnx`);
  return createBackend(backend, {
    cacheDirectory: cache,
    communicator: new SingleRank(),
    threads: 2,
    device: 0,
    libraryPath: process.env['SDXL_CUDA_LIBRARY_PATH'],
    tacticLimit: Number(tactics),
    onDamage: console.error,
  });
}
