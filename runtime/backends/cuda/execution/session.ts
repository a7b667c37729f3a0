/**
 * One rank's device with everything opened on it: libraries, stream, kernels, workspace, and the arena that all programs share, since
 * they run one after the other. A program asks for the arena's address before it runs and binds again where it has moved.
 */
import { join } from 'node:path';
import {
  closeAll,
  closeQuietly,
  CubinCache,
  CublasLt,
  Cudnn,
  Device,
  Driver,
  LibrarySearch,
  matmulWorkspaceBytes,
  Nvrtc,
  Tuner,
  type DeviceMemory,
  type Stream,
  type Workspace,
} from '../libraries/index.js';
import { loadKernels, type HalfType, type KernelSet, type LoadedKernels } from './kernels.js';
import { normScratchBytes, type NormScratch } from './norm-launches.js';

export interface SessionOptions {
  /** Number of the device among those this process sees. */
  readonly device: number;
  readonly cacheDirectory: string;
  /** Folders in which NVIDIA's libraries are looked for first. */
  readonly libraryPath: string | undefined;
  readonly onDamage: (reason: string) => void;
}

/** Some cuDNN plans want more than cuBLASLt does. */
const workspaceBytes = 2 * matmulWorkspaceBytes;

export class Session {
  readonly search: LibrarySearch;
  readonly driver: Driver;
  readonly device: Device;
  readonly stream: Stream;
  readonly cublas: CublasLt;
  readonly cudnn: Cudnn;
  readonly tuner: Tuner;
  readonly workspace: Workspace;
  readonly scratch: NormScratch;
  readonly #nvrtc: Nvrtc;
  readonly #cubins: CubinCache;
  readonly #memory: DeviceMemory[];
  readonly #kernels = new Map<HalfType, Promise<LoadedKernels>>();
  #arena: DeviceMemory | undefined;
  #closed = false;

  private constructor(parts: {
    search: LibrarySearch;
    driver: Driver;
    device: Device;
    nvrtc: Nvrtc;
    cublas: CublasLt;
    cudnn: Cudnn;
    cubins: CubinCache;
  }) {
    this.search = parts.search;
    this.driver = parts.driver;
    this.device = parts.device;
    this.cublas = parts.cublas;
    this.cudnn = parts.cudnn;
    this.#nvrtc = parts.nvrtc;
    this.#cubins = parts.cubins;
    const { device } = parts;
    this.stream = device.createStream();
    this.tuner = new Tuner(device, this.stream);
    const workspace = device.allocate(workspaceBytes, 'the workspace');
    const norm = device.allocate(normScratchBytes.partial + normScratchBytes.tickets + normScratchBytes.moments, 'group norms');
    this.workspace = workspace;
    const tickets = norm.pointer + BigInt(normScratchBytes.partial);
    this.scratch = { partial: norm.pointer, tickets, moments: tickets + BigInt(normScratchBytes.tickets) };
    this.stream.fill(tickets, 0, normScratchBytes.tickets);
    this.#memory = [workspace, norm];
  }

  /** @throws SdxlError CUDA_UNAVAILABLE naming what is missing, CUDA_OUT_OF_MEMORY */
  static async open(options: SessionOptions): Promise<Session> {
    const search = new LibrarySearch({ libraryPath: options.libraryPath });
    const driver = await Driver.open(search);
    const device = await Device.open(driver, options.device);
    const opened: { close(): void }[] = [device];
    try {
      const [major] = driver.cudaVersion;
      const nvrtc = await Nvrtc.open(search, major);
      const cublas = await CublasLt.open(search, major);
      opened.unshift(cublas);
      const cudnn = await Cudnn.open(search);
      opened.unshift(cudnn);
      const cubins = new CubinCache(join(options.cacheDirectory, 'kernels'), options.onDamage);
      return new Session({ search, driver, device, nvrtc, cublas, cudnn, cubins });
    } catch (error) {
      // What was made in the context goes with the device.
      closeQuietly(...opened);
      throw error;
    }
  }

  /** What tactics depend on besides the problem. */
  identity(): Readonly<Record<string, string>> {
    const { name, computeCapability, multiprocessors, memoryBytes } = this.device.properties;
    return {
      device: name,
      computeCapability: computeCapability.join('.'),
      multiprocessors: String(multiprocessors),
      memoryMebibytes: String(Math.round(memoryBytes / 2 ** 20)),
      driver: this.driver.cudaVersion.join('.'),
      cublasLt: this.cublas.version,
      cudnn: this.cudnn.version,
      nvrtc: this.#nvrtc.version,
    };
  }

  async kernels(half: HalfType, signal?: AbortSignal): Promise<KernelSet> {
    const known = this.#kernels.get(half) ?? loadKernels(this.device, this.#nvrtc, this.#cubins, half, signal);
    this.#kernels.set(half, known);
    return (await known).kernels;
  }

  /** The shared arena, at least so large. Growing it moves it: nothing of a program survives between its runs there. */
  arena(sizeBytes: number): bigint {
    if (this.#arena === undefined || this.#arena.sizeBytes < sizeBytes) {
      this.stream.synchronize();
      this.#arena?.close();
      this.#arena = undefined;
      this.#arena = this.device.allocate(sizeBytes, 'activations');
    }
    return this.#arena.pointer;
  }

  /** Idempotent. Whatever uses the device is closed before. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Kernels that could not be loaded were told of when they were asked for.
    const loaded = await Promise.allSettled(this.#kernels.values());
    const modules = loaded.flatMap((kernels) => (kernels.status === 'fulfilled' ? kernels.value.modules : []));
    const arena = this.#arena === undefined ? [] : [this.#arena];
    closeAll([this.tuner, ...modules, ...arena, ...this.#memory, this.cudnn, this.cublas, this.stream, this.device]);
  }
}
