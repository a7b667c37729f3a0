/** cuBLASLt: the library's handle. The products themselves are in matmul.ts. */
import { cublasLtSignatures, classifyCublasStatus, statusNames } from './cublaslt-functions.js';
import type { LibrarySearch } from './library-search.js';
import { Matmul, type MatmulProblem } from './matmul.js';
import { checked, type CheckedFunctions, type NativeLibrary, type StatusFunctions } from './native-library.js';
import { check, type StatusCodes } from './status.js';

const codes: StatusCodes = {
  library: 'cuBLASLt',
  describe: (status) => statusNames[status] ?? `status ${status}`,
  classify: classifyCublasStatus,
};

/** Belongs to the device that was current when it was opened. */
export class CublasLt implements Disposable {
  readonly version: string;
  readonly call: CheckedFunctions<typeof cublasLtSignatures>;
  readonly unchecked: StatusFunctions<typeof cublasLtSignatures>;
  readonly codes = codes;
  readonly handle: bigint;
  #open = true;

  private constructor(library: NativeLibrary) {
    this.unchecked = library.bind(cublasLtSignatures);
    this.call = checked(this.unchecked, (name, status) => check(codes, name, status));
    const version = Number(library.declare('cublasLtGetVersion', 'size_t', [])());
    this.version = `${Math.floor(version / 10_000)}.${Math.floor((version % 10_000) / 100)}.${version % 100}`;
    const handle = new BigUint64Array(1);
    this.call.cublasLtCreate(handle);
    this.handle = handle[0] ?? 0n;
  }

  /** Needs a current device. `maxMajor`: the driver's CUDA version. @throws SdxlError CUDA_UNAVAILABLE where it is not found. */
  static async open(search: LibrarySearch, maxMajor?: number): Promise<CublasLt> {
    return new CublasLt(await search.load('cublasLt', maxMajor === undefined ? {} : { maxMajor }));
  }

  /** The caller closes the product before this. */
  matmul(problem: MatmulProblem): Matmul {
    return new Matmul(this, problem);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.call.cublasLtDestroy(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
