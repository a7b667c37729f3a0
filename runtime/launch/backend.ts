/** Which backend computes: the one place that knows all of them. A gang uses one backend, and never the processor where a GPU was meant. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { SdxlJobSpec } from '../../crds/index.js';
import { OnnxBackend, type OnnxBackendOptions } from '../backends/onnx/index.js';
import type { Backend } from '../engine/index.js';
import { SdxlError } from '../errors/index.js';

const nvidiaDevices = ['dev/nvidiactl', 'proc/driver/nvidia/version', 'dev/dxg'];

/** The backend `Auto` stands for. BACKEND_UNAVAILABLE on a machine with an NVIDIA device; `root` is where `/dev` and `/proc` are found. */
export function resolveBackend(requested: SdxlJobSpec['backend'], root = '/'): 'Onnx' {
  if (requested === 'Onnx') return 'Onnx';
  const device = nvidiaDevices.map((path) => join(root, path)).find((path) => existsSync(path));
  if (device === undefined) return 'Onnx';
  throw new SdxlError(
    'BACKEND_UNAVAILABLE',
    `this machine has an NVIDIA device (${device}), and this version has no CUDA backend: to compute on the processor all the same, ` +
      'ask for it with --backend Onnx (spec.backend: Onnx)',
    { fields: { requested, device } },
  );
}

/** As {@link resolveBackend}, ready to use. */
export function createBackend(requested: SdxlJobSpec['backend'], options: OnnxBackendOptions): Backend {
  const backends = { Onnx: () => new OnnxBackend(options) };
  return backends[resolveBackend(requested)]();
}
