/** The backend of a benchmark, from its options. */
import { SingleRank, type Communicator } from '../../runtime/collectives/index.js';
import type { Backend } from '../../runtime/engine/index.js';
import { createBackend } from '../../runtime/launch/backend.js';

export interface BackendChoice {
  /** Cuda, unless another is given. */
  readonly backend?: string;
  /** Where engines are kept. */
  readonly cache: string;
  /** Tactics timed for each problem; 1 for none. */
  readonly tactics: string | number;
}

/** On the device of the communicator's rank; libraries are looked for where SDXL_CUDA_LIBRARY_PATH says. The caller closes it. */
export function openBackend(
  { backend = 'Cuda', cache, tactics }: BackendChoice,
  communicator: Communicator = new SingleRank(),
): Promise<Backend> {
  if (backend !== 'Cuda' && backend !== 'Onnx') throw new Error(`--backend ${backend}: Cuda or Onnx`);
  return createBackend(backend, {
    cacheDirectory: cache,
    communicator,
    threads: 2,
    device: communicator.rank,
    libraryPath: process.env['SDXL_CUDA_LIBRARY_PATH'],
    tacticLimit: Number(tactics),
    onDamage: console.error,
  });
}
