/** Modules of compiled kernels, and their launch. */
import { SdxlError } from '../../../errors/index.js';
import { functionAttribute, launchConfigLayout, programmaticStreamSerialization } from './driver-functions.js';
import type { Driver } from './driver.js';
import type { DevicePointer } from './memory.js';
import { NativeMemory } from './native-memory.js';
import type { Stream } from './stream.js';

export type Dim3 = readonly [x: number, y?: number, z?: number];

/** One kernel parameter. `bytes` is a structure passed by value, laid out by the caller. */
export type KernelArgument =
  | { readonly pointer: DevicePointer }
  | { readonly i32: number }
  | { readonly f32: number }
  | { readonly i64: number | bigint }
  | { readonly bytes: Uint8Array };

/** A kernel's parameters in native memory: made once, launched with as often as wanted. A launch, captured or not, copies them. */
export class KernelArguments implements Disposable {
  /** Address of the array of addresses that cuLaunchKernel takes. */
  readonly address: bigint;
  readonly #memory: NativeMemory;
  readonly #offsets: readonly number[];
  readonly #kinds: readonly string[];

  constructor(values: readonly KernelArgument[]) {
    const addressBytes = values.length * 8;
    let end = addressBytes;
    this.#offsets = values.map((value) => {
      const offset = end;
      // Every parameter is aligned to 16 bytes: enough for any type a kernel takes by value.
      end += 'bytes' in value ? Math.ceil(value.bytes.byteLength / 16) * 16 : 16;
      return offset;
    });
    this.#memory = new NativeMemory(end);
    this.#kinds = values.map((value) => Object.keys(value)[0] ?? '');
    this.address = this.#memory.address;
    values.forEach((value, index) => {
      const offset = this.#offsets[index] ?? 0;
      this.#memory.view.setBigUint64(index * 8, this.address + BigInt(offset), true);
      this.#write(offset, value);
    });
  }

  /** Changes one parameter, of the kind it had, for later launches. */
  set(index: number, value: KernelArgument): void {
    const offset = this.#offsets[index];
    if (offset === undefined || !((this.#kinds[index] ?? '') in value))
      throw new Error(`kernel argument ${index} is not of kind ${Object.keys(value).join()}`);
    this.#write(offset, value);
  }

  close(): void {
    this.#memory.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #write(offset: number, value: KernelArgument): void {
    const { view, bytes } = this.#memory;
    if ('pointer' in value) view.setBigUint64(offset, value.pointer, true);
    else if ('i32' in value) view.setInt32(offset, value.i32, true);
    else if ('f32' in value) view.setFloat32(offset, value.f32, true);
    else if ('i64' in value) view.setBigInt64(offset, BigInt(value.i64), true);
    else bytes.set(value.bytes, offset);
  }
}

export interface KernelResources {
  readonly registers: number;
  readonly staticSharedBytes: number;
  /** Bytes per thread that spilled to memory. */
  readonly localBytes: number;
}

export class Kernel {
  readonly name: string;
  readonly handle: bigint;
  readonly #driver: Driver;
  /** Lives as long as the process, a few hundred bytes a kernel. */
  #config: NativeMemory | undefined;

  constructor(driver: Driver, name: string, handle: bigint) {
    this.#driver = driver;
    this.name = name;
    this.handle = handle;
  }

  resources(): KernelResources {
    const attribute = (id: number): number => {
      const value = new Int32Array(1);
      this.#driver.call.cuFuncGetAttribute(value, id, this.handle);
      return value[0] ?? 0;
    };
    return {
      registers: attribute(functionAttribute.registers),
      staticSharedBytes: attribute(functionAttribute.staticSharedBytes),
      localBytes: attribute(functionAttribute.localBytes),
    };
  }

  /** Needed above 48 KiB. */
  setMaxDynamicSharedMemory(sizeBytes: number): void {
    this.#driver.call.cuFuncSetAttribute(this.handle, functionAttribute.maxDynamicSharedBytes, sizeBytes);
  }

  /** How many blocks of so many threads run on one multiprocessor at a time. */
  blocksPerMultiprocessor(threads: number, dynamicSharedBytes = 0): number {
    const blocks = new Int32Array(1);
    this.#driver.call.cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, this.handle, threads, dynamicSharedBytes);
    return blocks[0] ?? 0;
  }

  launch(grid: Dim3, block: Dim3, sharedBytes: number, stream: Stream, parameters: KernelArguments): void {
    const [gridX, gridY = 1, gridZ = 1] = grid;
    const [blockX, blockY = 1, blockZ = 1] = block;
    const { call } = this.#driver;
    call.cuLaunchKernel(this.handle, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, stream.handle, parameters.address, null);
  }

  /**
   * May start while the kernel before it on the stream ends, which hides the launch: the kernel itself waits
   * (`griddepcontrol.wait`, sm_90 and newer) before it touches what others write or read. In a graph this becomes an edge.
   */
  launchProgrammatic(grid: Dim3, block: Dim3, sharedBytes: number, stream: Stream, parameters: KernelArguments): void {
    const { sizeBytes, stream: streamAt, attributes, attributeCount, attributeId, attributeValue } = launchConfigLayout;
    const config = (this.#config ??= new NativeMemory(sizeBytes));
    const { view } = config;
    const [gridX, gridY = 1, gridZ = 1] = grid;
    const [blockX, blockY = 1, blockZ = 1] = block;
    [gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes].forEach((value, index) => view.setUint32(index * 4, value, true));
    view.setBigUint64(streamAt, stream.handle, true);
    view.setBigUint64(attributes, config.address + BigInt(attributeId), true);
    view.setUint32(attributeCount, 1, true);
    view.setUint32(attributeId, programmaticStreamSerialization, true);
    view.setInt32(attributeValue, 1, true);
    this.#driver.call.cuLaunchKernelEx(config.address, this.handle, parameters.address, null);
  }

  /** All blocks run at once, so that they may wait for each other. */
  launchCooperative(grid: Dim3, block: Dim3, sharedBytes: number, stream: Stream, parameters: KernelArguments): void {
    const [gridX, gridY = 1, gridZ = 1] = grid;
    const [blockX, blockY = 1, blockZ = 1] = block;
    const { call } = this.#driver;
    call.cuLaunchCooperativeKernel(
      this.handle,
      gridX,
      gridY,
      gridZ,
      blockX,
      blockY,
      blockZ,
      sharedBytes,
      stream.handle,
      parameters.address,
    );
  }
}

const elfMagic = [0x7f, 0x45, 0x4c, 0x46] as const;

export class KernelModule implements Disposable {
  readonly #driver: Driver;
  readonly #handle: bigint;
  #open = true;

  constructor(driver: Driver, image: Uint8Array) {
    this.#driver = driver;
    // The driver would take anything else for PTX text and read on to a zero byte.
    if (!elfMagic.every((byte, index) => image[index] === byte)) {
      throw new SdxlError('ENGINE_BUILD_FAILED', `a kernel image of ${image.byteLength} bytes is no cubin: it is damaged`, {
        fields: { sizeBytes: image.byteLength },
      });
    }
    const handle = new BigUint64Array(1);
    driver.call.cuModuleLoadData(handle, image);
    this.#handle = handle[0] ?? 0n;
  }

  /** A kernel by its name in the source, which must be `extern "C"`. */
  kernel(name: string): Kernel {
    const handle = new BigUint64Array(1);
    this.#driver.call.cuModuleGetFunction(handle, this.#handle, name);
    return new Kernel(this.#driver, name, handle[0] ?? 0n);
  }

  /** A `__device__` variable. */
  global(name: string): { readonly pointer: DevicePointer; readonly sizeBytes: number } {
    const [pointer, size] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.#driver.call.cuModuleGetGlobal_v2(pointer, size, this.#handle, name);
    return { pointer: pointer[0] ?? 0n, sizeBytes: Number(size[0]) };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuModuleUnload(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
