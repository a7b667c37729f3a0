/** A device for tests, or why there is none; random operands, and references in float64. */
import { SdxlError } from '../../runtime/errors/index.js';
import {
  CublasLt,
  Cudnn,
  Device,
  Driver,
  LibrarySearch,
  matmulWorkspaceBytes,
  Nvrtc,
  type DeviceMemory,
  type DevicePointer,
  type Stream,
} from '../../runtime/backends/cuda/libraries/index.js';
import { bfloat16ToFloat32, float16ToFloat32, Generator, numberToFloat16 } from '../../runtime/tensor/index.js';

export interface Gpu {
  readonly search: LibrarySearch;
  readonly driver: Driver;
  readonly device: Device;
  readonly nvrtc: Nvrtc;
  readonly cublasLt: CublasLt;
  readonly cudnn: Cudnn;
  readonly stream: Stream;
  /** For all kernels of {@link Gpu.stream}. */
  readonly workspace: DeviceMemory;
  close(): void;
}

/** Opens everything; a string tells what this machine lacks. Anything but CUDA_UNAVAILABLE fails the tests. */
export async function openGpu(): Promise<Gpu | string> {
  const search = testSearch();
  try {
    const driver = await Driver.open(search);
    const device = await Device.open(driver);
    const [major] = driver.cudaVersion;
    const nvrtc = await Nvrtc.open(search, major);
    const cublasLt = await CublasLt.open(search, major);
    const cudnn = await Cudnn.open(search);
    const stream = device.createStream();
    const workspace = device.allocate(2 * matmulWorkspaceBytes, 'workspace');
    const close = (): void => {
      workspace.close();
      stream.close();
      cudnn.close();
      cublasLt.close();
      device.close();
    };
    return { search, driver, device, nvrtc, cublasLt, cudnn, stream, workspace, close };
  } catch (error) {
    if (error instanceof SdxlError && error.code === 'CUDA_UNAVAILABLE') return `no GPU to test on: ${error.message.slice(0, 160)}`;
    throw error;
  }
}

export function testSearch(): LibrarySearch {
  return new LibrarySearch({ libraryPath: process.env['SDXL_CUDA_LIBRARY_PATH'], home: process.env['HOME'] });
}

export type Half = 'f16' | 'bf16';

/** A prime: no size or stride of a tensor divides it, so that no two rows are alike. */
const period = 65_521;

/** A tensor of half-precision random numbers, known on both sides. */
export class Operand {
  readonly count: number;
  readonly memory: DeviceMemory;
  readonly #values: Float32Array;

  private constructor(memory: DeviceMemory, count: number, values: Float32Array) {
    this.memory = memory;
    this.count = count;
    this.#values = values;
  }

  static random({ device }: Gpu, count: number, dtype: Half, seed: number, scale = 1): Operand {
    const normals = new Generator(seed).randn([period]).data;
    const bits = new Uint16Array(period);
    for (let index = 0; index < period; index++) bits[index] = toHalf((normals[index] ?? 0) * scale, dtype);
    const all = new Uint16Array(count);
    for (let start = 0; start < count; start += period) all.set(bits.subarray(0, Math.min(period, count - start)), start);
    const memory = device.allocate(count * 2);
    device.copyToDevice(memory.pointer, all);
    return new Operand(memory, count, fromHalf(bits, dtype));
  }

  get pointer(): DevicePointer {
    return this.memory.pointer;
  }

  at(index: number): number {
    return this.#values[index % period] ?? Number.NaN;
  }
}

/** Device memory full of NaN, so that what a kernel leaves unwritten shows. */
export function poisoned({ device, stream }: Gpu, count: number): DeviceMemory {
  const memory = device.allocate(count * 2);
  stream.fill(memory.pointer, 0x7fff, count, 2);
  stream.synchronize();
  return memory;
}

/** Everything the stream was given is done; the result as numbers. */
export function download({ device, stream }: Gpu, pointer: DevicePointer, count: number, dtype: Half): Float32Array {
  stream.synchronize();
  const bits = new Uint16Array(count);
  device.copyToHost(bits, pointer);
  return fromHalf(bits, dtype);
}

export interface Deviation {
  /** ‖found − reference‖ / ‖reference‖ over the sampled elements. */
  readonly relative: number;
  readonly unwritten: number;
}

/** Compares a result with a reference that is computed for `samples` random elements, the first and the last. */
export function deviation(found: Float32Array, reference: (index: number) => number, samples = 2000): Deviation {
  let [difference, magnitude] = [0, 0];
  let state = 12_345;
  for (let sample = 0; sample < samples; sample++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const index = sample === 0 ? 0 : sample === 1 ? found.length - 1 : Math.floor((state / 2 ** 32) * found.length);
    const expected = reference(index);
    difference += ((found[index] ?? Number.NaN) - expected) ** 2;
    magnitude += expected ** 2;
  }
  return {
    relative: Math.sqrt(difference / magnitude),
    unwritten: found.reduce((count, value) => count + (Number.isNaN(value) ? 1 : 0), 0),
  };
}

/** Rounding to 11 significant bits gives about 2.8e-4, to 8 bits 2.3e-3; sums in fp32 add little. */
export const tolerance = { f16: 6e-4, bf16: 4.5e-3 } as const;

function toHalf(value: number, dtype: Half): number {
  scratch[0] = value;
  if (dtype === 'bf16') return (scratchBits[0] ?? 0) >>> 16;
  return numberToFloat16(value);
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

function fromHalf(bits: Uint16Array, dtype: Half): Float32Array {
  return dtype === 'f16' ? float16ToFloat32(bits) : bfloat16ToFloat32(bits);
}
