/**
 * One device and its primary context. Contexts belong to threads: a device, its streams and its library handles are used from
 * the thread that opened it, or after {@link Device.makeCurrent} on another.
 */
import { SdxlError } from '../../../errors/index.js';
import { cuErrorOutOfMemory, deviceAttribute } from './driver-functions.js';
import type { Driver } from './driver.js';
import { Event } from './event.js';
import { KernelModule } from './kernel.js';
import { DeviceMemory, PinnedMemory, type DevicePointer } from './memory.js';
import { statusError } from './status.js';
import { Stream } from './stream.js';

export interface DeviceProperties {
  readonly ordinal: number;
  readonly name: string;
  /** `GPU-xxxxxxxx-…`, as nvidia-smi prints it. */
  readonly uuid: string;
  readonly computeCapability: readonly [major: number, minor: number];
  readonly multiprocessors: number;
  readonly memoryBytes: number;
  readonly l2CacheBytes: number;
  /** The most one block may use, after opting in. */
  readonly maxSharedMemoryPerBlockBytes: number;
  readonly clockMegahertz: number;
}

export class Device implements Disposable {
  readonly driver: Driver;
  readonly properties: DeviceProperties;
  readonly #handle: number;
  readonly #context: bigint;
  #open = true;

  private constructor(driver: Driver, ordinal: number) {
    this.driver = driver;
    const handle = new Int32Array(1);
    driver.call.cuDeviceGet(handle, ordinal);
    this.#handle = handle[0] ?? 0;
    this.properties = readProperties(driver, ordinal, this.#handle);
    const context = new BigUint64Array(1);
    driver.call.cuDevicePrimaryCtxRetain(context, this.#handle);
    this.#context = context[0] ?? 0n;
    this.makeCurrent();
  }

  /** Retains the primary context and makes it the calling thread's. @throws SdxlError CUDA_UNAVAILABLE where there is no such device. */
  static async open(driver: Driver, ordinal = 0): Promise<Device> {
    if (ordinal >= driver.deviceCount) {
      throw new SdxlError('CUDA_UNAVAILABLE', `there is no CUDA device ${ordinal}: the driver sees ${driver.deviceCount}`, {
        fields: { ordinal, deviceCount: driver.deviceCount },
      });
    }
    return new Device(driver, ordinal);
  }

  makeCurrent(): void {
    this.driver.call.cuCtxSetCurrent(this.#context);
  }

  memory(): { readonly freeBytes: number; readonly totalBytes: number } {
    const words = new BigUint64Array(2);
    this.driver.call.cuMemGetInfo_v2(words.subarray(0, 1), words.subarray(1));
    return { freeBytes: Number(words[0]), totalBytes: Number(words[1]) };
  }

  /** Device memory, 256-byte aligned, not cleared. @throws SdxlError CUDA_OUT_OF_MEMORY with `askedBytes` and `freeBytes`. */
  allocate(sizeBytes: number, purpose = 'a buffer'): DeviceMemory {
    const pointer = new BigUint64Array(1);
    this.#checkMemory('cuMemAlloc', this.driver.unchecked.cuMemAlloc_v2(pointer, Math.max(1, sizeBytes)), sizeBytes, purpose);
    return new DeviceMemory(this.driver, pointer[0] ?? 0n, sizeBytes);
  }

  /** Page-locked host memory, which the device reads and writes while the program goes on. */
  allocatePinned(sizeBytes: number, purpose = 'a staging buffer'): PinnedMemory {
    const address = new BigUint64Array(1);
    this.#checkMemory('cuMemHostAlloc', this.driver.unchecked.cuMemHostAlloc(address, Math.max(1, sizeBytes), 0), sizeBytes, purpose);
    return new PinnedMemory(this.driver, address[0] ?? 0n, sizeBytes);
  }

  /** A stream that does not wait for the legacy default stream. A lower `priority` runs first (0 is lowest, −5 highest). */
  createStream(priority = 0): Stream {
    return new Stream(this.driver, priority);
  }

  /** `timing`: whether {@link Event.elapsedMs} can be asked; events without are cheaper. */
  createEvent(options: { readonly timing?: boolean } = {}): Event {
    return new Event(this.driver, options.timing ?? false);
  }

  /** Loads a cubin. @throws SdxlError ENGINE_BUILD_FAILED where it is damaged or made for another architecture. */
  loadModule(image: Uint8Array): KernelModule {
    return new KernelModule(this.driver, image);
  }

  /** Copies and returns when done. `source` may be any host memory. */
  copyToDevice(destination: DevicePointer, source: ArrayBufferView): void {
    if (source.byteLength === 0) return;
    this.driver.call.cuMemcpyHtoD_v2(destination, source, source.byteLength);
    // From pageable memory the call may return with the last part on its way (CUDA, "API synchronization behavior"), and this program's
    // streams do not wait for the default one, on which it is.
    this.driver.call.cuStreamSynchronize(0n);
  }

  copyToHost(destination: ArrayBufferView, source: DevicePointer): void {
    if (destination.byteLength > 0) this.driver.call.cuMemcpyDtoH_v2(destination, source, destination.byteLength);
  }

  copy(destination: DevicePointer, source: DevicePointer, sizeBytes: number): void {
    this.driver.call.cuMemcpyDtoD_v2(destination, source, sizeBytes);
  }

  /** Blocks the thread until everything on the device is done. */
  synchronize(): void {
    this.driver.call.cuCtxSynchronize();
  }

  /** 64 bytes by which another process of this machine opens the allocation that `pointer` begins. */
  ipcHandle(pointer: DevicePointer): Uint8Array {
    const handle = new Uint8Array(64);
    this.driver.call.cuIpcGetMemHandle(handle, pointer);
    return handle;
  }

  /** Another process's allocation. Closed by {@link closeIpc}, before its owner frees it. */
  openIpc(handle: Uint8Array): DevicePointer {
    const pointer = new BigUint64Array(1);
    const lazyEnablePeerAccess = 1;
    this.driver.call.cuIpcOpenMemHandle_v2(pointer, { bytes: handle }, lazyEnablePeerAccess);
    return pointer[0] ?? 0n;
  }

  closeIpc(pointer: DevicePointer): void {
    this.driver.call.cuIpcCloseMemHandle(pointer);
  }

  /** Gives the context back; what still lies in it is freed by the driver. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.driver.call.cuDevicePrimaryCtxRelease_v2(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkMemory(functionName: string, status: number, sizeBytes: number, purpose: string): void {
    if (status === 0) return;
    if (status !== cuErrorOutOfMemory) throw statusError(this.driver.codes, functionName, status);
    const { freeBytes, totalBytes } = this.memory();
    const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
    throw new SdxlError(
      'CUDA_OUT_OF_MEMORY',
      `${functionName} (CUDA driver) could not allocate ${mebibytes(sizeBytes)} for ${purpose}: ${mebibytes(freeBytes)} of ` +
        `${mebibytes(totalBytes)} are free on ${this.properties.name}; lower the image size or the batch, or end other programs on this device`,
      { fields: { function: functionName, askedBytes: sizeBytes, freeBytes, totalBytes, device: this.properties.name } },
    );
  }
}

function readProperties(driver: Driver, ordinal: number, handle: number): DeviceProperties {
  const attribute = (id: number): number => {
    const value = new Int32Array(1);
    driver.call.cuDeviceGetAttribute(value, id, handle);
    return value[0] ?? 0;
  };
  const name = new Uint8Array(256);
  driver.call.cuDeviceGetName(name, name.length, handle);
  const uuid = new Uint8Array(16);
  driver.call.cuDeviceGetUuid_v2(uuid, handle);
  const total = new BigUint64Array(1);
  driver.call.cuDeviceTotalMem_v2(total, handle);
  return {
    ordinal,
    name: new TextDecoder().decode(name.subarray(0, name.indexOf(0))),
    uuid: `GPU-${Buffer.from(uuid)
      .toString('hex')
      .replace(/^(.{8})(.{4})(.{4})(.{4})/u, '$1-$2-$3-$4-')}`,
    computeCapability: [attribute(deviceAttribute.computeCapabilityMajor), attribute(deviceAttribute.computeCapabilityMinor)],
    multiprocessors: attribute(deviceAttribute.multiprocessors),
    memoryBytes: Number(total[0]),
    l2CacheBytes: attribute(deviceAttribute.l2CacheBytes),
    maxSharedMemoryPerBlockBytes: attribute(deviceAttribute.maxSharedMemoryPerBlockOptin),
    clockMegahertz: attribute(deviceAttribute.clockKilohertz) / 1000,
  };
}
