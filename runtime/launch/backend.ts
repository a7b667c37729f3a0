/** Which backend computes: the one place that knows all of them. A gang uses one backend, and never the processor where a GPU was meant. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { SdxlJobSpec } from '../../crds/index.js';
import type { Communicator } from '../collectives/communicator.js';
import type { Backend, RunSpan } from '../engine/index.js';

const nvidiaDevices = ['dev/nvidiactl', 'proc/driver/nvidia/version', 'dev/dxg'];

export type BackendName = Exclude<SdxlJobSpec['backend'], 'Auto'>;

/** The backend `Auto` stands for: `Cuda` on a machine with an NVIDIA device. `root` is where `/dev` and `/proc` are found. */
export function resolveBackend(requested: SdxlJobSpec['backend'], root = '/'): BackendName {
  if (requested !== 'Auto') return requested;
  return nvidiaDevices.some((path) => existsSync(join(root, path))) ? 'Cuda' : 'Onnx';
}

export interface BackendOptions {
  readonly cacheDirectory: string;
  readonly communicator: Communicator;
  /** Intra-op threads on the processor. */
  readonly threads: number;
  /** This rank's device among those of its machine. */
  readonly device: number;
  /** Folders in which NVIDIA's libraries are looked for first. */
  readonly libraryPath: string | undefined;
  /** Tactics timed for each problem; 1 for none. */
  readonly tacticLimit: number;
  /** File of tactics timed before, which builds read and add to. */
  readonly timingCache?: string | undefined;
  /** Told of cached engines that were found damaged and are built again. */
  readonly onDamage: (reason: string) => void;
  /** Told after each run what it did when, where the backend can say so. */
  readonly onSpans?: ((spans: readonly RunSpan[]) => void) | undefined;
}

/** As {@link resolveBackend}, ready to use. Only what is used is loaded: a GPU host needs no ONNX Runtime. */
export async function createBackend(requested: SdxlJobSpec['backend'], options: BackendOptions): Promise<Backend> {
  const name = resolveBackend(requested);
  switch (name) {
    case 'Onnx': {
      const { OnnxBackend } = await import('../backends/onnx/index.js');
      return new OnnxBackend(options);
    }
    case 'Cuda': {
      const { CudaBackend } = await import('../backends/cuda/index.js');
      return new CudaBackend(options);
    }
    default:
      return name satisfies never;
  }
}
