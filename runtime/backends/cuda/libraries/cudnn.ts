/** cuDNN: the library's handle, and the operations this program asks of it. */
import { createAttention, type Attention, type AttentionProblem } from './attention.js';
import { createConvolution, type Convolution, type ConvolutionProblem } from './convolution.js';
import { CudnnCalls, Descriptor } from './cudnn-descriptor.js';
import { attribute, classifyCudnnStatus } from './cudnn-functions.js';
import type { CudnnTarget } from './cudnn-plan.js';
import type { LibrarySearch } from './library-search.js';
import type { Stream } from './stream.js';

/** Belongs to the device that was current when it was opened. */
export class Cudnn implements Disposable {
  readonly version: string;
  readonly calls: CudnnCalls;
  readonly target: CudnnTarget;
  #stream: bigint | undefined;
  #open = true;

  private constructor(calls: CudnnCalls, target: CudnnTarget) {
    this.calls = calls;
    this.version = calls.version;
    this.target = target;
  }

  /**
   * Needs a current device, and cuBLASLt and NVRTC open before it: it finds those that are loaded.
   * @throws SdxlError CUDA_UNAVAILABLE where it is not found.
   */
  static async open(search: LibrarySearch): Promise<Cudnn> {
    const calls = await load(search);
    const handle = new BigUint64Array(1);
    calls.call.cudnnCreate(handle);
    return new Cudnn(calls, { handle: handle[0] ?? 0n });
  }

  /** For a device that is described, not present: plans are built and looked at, and do not run. `device` as cuDNN's JSON has it. */
  static async openFor(search: LibrarySearch, device: Readonly<Record<string, number | readonly number[]>>): Promise<Cudnn> {
    const calls = await load(search);
    const text = Buffer.from(JSON.stringify(device));
    return new Cudnn(calls, { device: new Descriptor(calls, 'deviceProperties').set(attribute.deviceJson, 'char', text).finalize() });
  }

  /** The caller closes the operation before this. @throws SdxlError ENGINE_BUILD_FAILED where cuDNN refuses it. */
  convolution(problem: ConvolutionProblem): Convolution {
    return createConvolution(this, problem);
  }

  attention(problem: AttentionProblem): Attention {
    return createAttention(this, problem);
  }

  useStream(stream: Stream): void {
    if (!('handle' in this.target) || stream.handle === this.#stream) return;
    this.calls.call.cudnnSetStream(this.target.handle, stream.handle);
    this.#stream = stream.handle;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if ('handle' in this.target) this.calls.call.cudnnDestroy(this.target.handle);
    else this.target.device.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

async function load(search: LibrarySearch): Promise<CudnnCalls> {
  return new CudnnCalls(await search.load('cudnn'), { library: 'cuDNN', classify: classifyCudnnStatus });
}
