/** cuDNN: the library's handle, and the operations this program asks of it. */
import { SdxlError } from '../../../errors/index.js';
import type { Attention, AttentionProblem } from './attention.js';
import type { Convolution, ConvolutionProblem } from './convolution.js';
import type { LibrarySearch } from './library-search.js';
import type { NativeLibrary } from './native-library.js';

/** Belongs to the device that was current when it was opened. */
export class Cudnn implements Disposable {
  readonly version: string;

  private constructor(library: NativeLibrary) {
    this.version = library.path;
  }

  /**
   * Needs a current device, and cuBLASLt and NVRTC open before it: it finds those that are loaded.
   * @throws SdxlError CUDA_UNAVAILABLE where it is not found.
   */
  static async open(search: LibrarySearch): Promise<Cudnn> {
    return new Cudnn(await search.load('cudnn'));
  }

  /** The caller closes the operation before this. */
  convolution(problem: ConvolutionProblem): Convolution {
    throw new SdxlError('INTERNAL', JSON.stringify(problem));
  }

  attention(problem: AttentionProblem): Attention {
    throw new SdxlError('INTERNAL', JSON.stringify(problem));
  }

  close(): void {
    return;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
