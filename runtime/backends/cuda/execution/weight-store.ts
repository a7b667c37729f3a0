/**
 * Weights on the device. Each form is uploaded once and shared by every program that reads it, whatever its sizes. Files are read
 * into page-locked memory a block at a time, copied as stored, and converted and rearranged by the device.
 */
import { SdxlError } from '../../../errors/index.js';
import { tensorDType, type WeightsDirectory } from '../../../weights/index.js';
import {
  closeAll,
  KernelArguments,
  type Device,
  type DeviceMemory,
  type Event,
  type PinnedMemory,
  type Stream,
} from '../libraries/index.js';
import type { BufferSpec, WeightForm } from '../plan/program.js';
import { elementBytes } from '../plan/view.js';
import type { KernelSet } from './kernels.js';

const blockBytes = 32 << 20;
const storedTypes = { f32: 0, f16: 1, bf16: 2 } as const;

interface Block {
  readonly host: PinnedMemory;
  readonly device: DeviceMemory;
  readonly free: Event;
}

export interface WeightStoreOptions {
  readonly device: Device;
  readonly stream: Stream;
  readonly kernels: KernelSet;
  readonly weights: WeightsDirectory;
}

export class WeightStore {
  readonly #options: WeightStoreOptions;
  readonly #memory = new Map<string, DeviceMemory>();
  #sizeBytes = 0;

  constructor(options: WeightStoreOptions) {
    this.#options = options;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Uploads what is not there yet. @throws SdxlError WEIGHTS_INVALID, CUDA_OUT_OF_MEMORY */
  async load(buffers: readonly BufferSpec[], signal: AbortSignal | undefined): Promise<void> {
    const missing = buffers.filter((buffer) => buffer.weight !== undefined && !this.#memory.has(weightKey(buffer)));
    if (missing.length === 0) return;
    const { device, stream } = this.#options;
    const blocks = Array.from({ length: 3 }, (): Block => {
      return {
        host: device.allocatePinned(blockBytes),
        device: device.allocate(blockBytes, 'uploading weights'),
        free: device.createEvent(),
      };
    });
    const overflow = device.allocate(4, 'a flag');
    try {
      stream.fill(overflow.pointer, 0, 1, 4);
      const uploader = new Uploader(this.#options, blocks, overflow.pointer);
      for (const buffer of missing) {
        signal?.throwIfAborted();
        const sizeBytes = buffer.elements * elementBytes[buffer.type];
        const memory = device.allocate(sizeBytes, `weights of ${this.#options.weights.directory}`);
        this.#memory.set(weightKey(buffer), memory);
        this.#sizeBytes += sizeBytes;
        if (buffer.weight !== undefined) await uploader.upload(buffer.weight, buffer.type === 'f32', memory, signal);
      }
      await uploader.finish(signal);
      const flag = new Int32Array(1);
      device.copyToHost(flag, overflow.pointer);
      if (flag[0] !== 0) {
        throw new SdxlError(
          'WEIGHTS_INVALID',
          `${this.#options.weights.directory} holds values beyond the range of fp16 (65504): take weights that were published for fp16`,
          { fields: { directory: this.#options.weights.directory } },
        );
      }
    } finally {
      closeAll([
        { close: () => stream.synchronize() },
        ...blocks.flatMap(({ host, device: there, free }) => [host, there, free]),
        overflow,
      ]);
    }
  }

  pointer(buffer: BufferSpec): bigint {
    const memory = this.#memory.get(weightKey(buffer));
    if (memory === undefined) throw new Error(`${weightKey(buffer)} was not uploaded`);
    return memory.pointer;
  }

  close(): void {
    const memory = [...this.#memory.values()];
    this.#memory.clear();
    this.#sizeBytes = 0;
    closeAll(memory);
  }
}

function weightKey({ type, weight }: BufferSpec): string {
  return `${weight?.form ?? ''} ${type} ${weight?.keys.join() ?? ''}`;
}

class Uploader {
  readonly #options: WeightStoreOptions;
  readonly #blocks: readonly Block[];
  readonly #overflow: bigint;
  /** Kept until the stream has launched with them. */
  readonly #arguments: KernelArguments[] = [];
  #next = 0;

  constructor(options: WeightStoreOptions, blocks: readonly Block[], overflow: bigint) {
    this.#options = options;
    this.#blocks = blocks;
    this.#overflow = overflow;
  }

  async upload(weight: WeightForm, asFloat: boolean, memory: DeviceMemory, signal: AbortSignal | undefined): Promise<void> {
    const { stream } = this.#options;
    stream.fill(memory.pointer, 0, memory.sizeBytes);
    const tensors = tensorsOf(weight);
    let start = 0;
    for (const { key, shape, inputs, spatial, paddedInputs } of tensors) {
      const elements = shape.reduce((product, size) => product * size, 1);
      // A block ends with a whole row of inputs·spatial elements.
      await this.#move(key, shape, inputs * spatial, signal, (block, type, first, count) => {
        const rows = first / (inputs * spatial);
        const target = memory.pointer + BigInt((start + rows * spatial * paddedInputs) * (asFloat ? 4 : 2));
        this.#convert(block, type, count, { inputs, spatial, paddedInputs, asFloat, target });
      });
      start += (elements / inputs) * paddedInputs;
    }
  }

  async finish(signal: AbortSignal | undefined): Promise<void> {
    for (const { free } of this.#blocks) await free.done({ signal, timeoutMs: 60_000 });
    for (const values of this.#arguments.splice(0)) values.close();
  }

  /** Reads a tensor block by block; `then` is called once a block's copy is enqueued, with the elements it holds. */
  async #move(
    key: string,
    shape: readonly number[],
    rowElements: number,
    signal: AbortSignal | undefined,
    then: (block: Block, type: number, first: number, count: number) => void,
  ): Promise<void> {
    const { weights, stream } = this.#options;
    const entry = weights.require(key, shape);
    const dtype = tensorDType(entry);
    if (dtype !== 'f32' && dtype !== 'f16' && dtype !== 'bf16') throw new Error(`${key} has dtype ${entry.dtype} although it was checked`);
    const bytes = dtype === 'f32' ? 4 : 2;
    const rowsPerBlock = Math.max(1, Math.floor(blockBytes / (rowElements * bytes)));
    const step = rowsPerBlock * rowElements * bytes;
    if (step > blockBytes) throw new Error(`a row of ${key} is larger than a block`);
    for (let start = 0; start < entry.sizeBytes; start += step) {
      const block = this.#blocks[this.#next++ % this.#blocks.length];
      if (block === undefined) throw new Error('no staging block');
      await block.free.done({ signal, timeoutMs: 60_000 });
      const size = Math.min(step, entry.sizeBytes - start);
      await weights.read(key, block.host.bytes.subarray(0, size), start);
      stream.copyToDevice(block.device.pointer, block.host.address, size);
      then(block, storedTypes[dtype], start / bytes, size / bytes);
      block.free.record(stream);
    }
  }

  #convert(
    block: Block,
    type: number,
    count: number,
    to: { inputs: number; spatial: number; paddedInputs: number; asFloat: boolean; target: bigint },
  ): void {
    const { kernels, stream } = this.#options;
    const values = to.asFloat
      ? new KernelArguments([{ pointer: block.device.pointer }, { i32: type }, { i64: count }, { pointer: to.target }])
      : new KernelArguments([
          { pointer: block.device.pointer },
          { i32: type },
          { i64: count },
          { i32: to.inputs },
          { i32: to.spatial },
          { i32: to.paddedInputs },
          { pointer: to.target },
          { pointer: this.#overflow },
        ]);
    this.#arguments.push(values);
    const kernel = to.asFloat ? kernels.convertVector : kernels.convertKernel;
    kernel.launch([Math.min(2048, Math.ceil(count / 256))], [256], 0, stream, values);
  }
}

interface StoredTensor {
  readonly key: string;
  readonly shape: readonly number[];
  readonly inputs: number;
  readonly spatial: number;
  readonly paddedInputs: number;
}

function tensorsOf(weight: WeightForm): readonly StoredTensor[] {
  switch (weight.form) {
    case 'kernel':
      return weight.keys.map((key, index) => {
        const { inputs, height, width, axes, paddedInputs } = weight;
        const out = weight.outs[index] ?? 0;
        return { key, shape: axes === 4 ? [out, inputs, height, width] : [out, inputs], inputs, spatial: height * width, paddedInputs };
      });
    case 'vector':
      return weight.keys.map((key, index) => ({ key, shape: [weight.sizes[index] ?? 0], inputs: 1, spatial: 1, paddedInputs: 1 }));
    case 'table':
      return weight.keys.map((key) => ({ key, shape: weight.shape, inputs: 1, spatial: 1, paddedInputs: 1 }));
  }
}
