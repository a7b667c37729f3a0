/** NVRTC: CUDA C++ source to a cubin for one architecture. */
import { SdxlError } from '../../../errors/index.js';
import type { LibrarySearch } from './library-search.js';
import { checked, type CheckedFunctions, type NativeLibrary } from './native-library.js';
import { classifyNvrtcStatus, nvrtcCompileProgram, nvrtcErrorCompilation, nvrtcSignatures } from './nvrtc-functions.js';
import { check, type StatusCodes } from './status.js';

/** One source file and how to compile it. Kernels are `extern "C"`. */
export interface KernelProgram {
  /** Shown in messages: `group-norm.cu`. */
  readonly name: string;
  readonly source: string;
  /** `sm_90a`; see {@link architectureName}. */
  readonly architecture: string;
  readonly defines?: Readonly<Record<string, string | number>>;
  /** Texts of own headers by the name they are included by. The toolkit's cuda_fp16.h and cuda_bf16.h need none. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly options?: readonly string[];
}

/** With the architecture's own instructions where there are such (`a`), since cubins are made for one device. */
export function architectureName([major, minor]: readonly [number, number]): string {
  return `sm_${major}${minor}${major >= 9 ? 'a' : ''}`;
}

export class Nvrtc {
  readonly version: string;
  /** Architectures it compiles for, as numbers: 90 for sm_90. */
  readonly supportedArchitectures: readonly number[];
  readonly #call: CheckedFunctions<typeof nvrtcSignatures>;
  readonly #compile: (program: bigint, count: number, options: readonly string[]) => Promise<number>;
  readonly #codes: StatusCodes;
  readonly #includeFolders: readonly string[];

  private constructor(library: NativeLibrary, includeFolders: readonly string[]) {
    const text = library.declare('nvrtcGetErrorString', 'str', ['int']);
    this.#codes = { library: 'NVRTC', describe: (status) => text(status) ?? `status ${status}`, classify: classifyNvrtcStatus };
    this.#call = checked(library.bind(nvrtcSignatures), (name, status) => check(this.#codes, name, status));
    this.#compile = library.declareAsync('nvrtcCompileProgram', nvrtcCompileProgram);
    this.#includeFolders = includeFolders;
    const [major, minor] = [new Int32Array(1), new Int32Array(1)];
    this.#call.nvrtcVersion(major, minor);
    this.version = `${major[0]}.${minor[0]}`;
    const count = new Int32Array(1);
    this.#call.nvrtcGetNumSupportedArchs(count);
    const architectures = new Int32Array(count[0] ?? 0);
    this.#call.nvrtcGetSupportedArchs(architectures);
    this.supportedArchitectures = [...architectures];
  }

  /** `maxMajor`: the driver's CUDA version. @throws SdxlError CUDA_UNAVAILABLE where it is not found. */
  static async open(search: LibrarySearch, maxMajor?: number): Promise<Nvrtc> {
    const options = maxMajor === undefined ? {} : { maxMajor };
    // NVRTC asks the loader for its builtins by name: with them loaded, they are found wherever they lie.
    await search.loadBeside('nvrtc', 'nvrtc-builtins', options);
    return new Nvrtc(await search.load('nvrtc', options), await search.includeFolders());
  }

  /** @throws SdxlError ENGINE_BUILD_FAILED with the compiler's log, CUDA_UNAVAILABLE where the architecture is unknown to it. */
  async compile(program: KernelProgram, signal?: AbortSignal): Promise<Uint8Array> {
    signal?.throwIfAborted();
    const architecture = Number(/^sm_(\d+)/u.exec(program.architecture)?.[1] ?? Number.NaN);
    if (!this.supportedArchitectures.includes(architecture)) {
      throw new SdxlError(
        'CUDA_UNAVAILABLE',
        `NVRTC ${this.version} does not compile for ${program.architecture}: it knows sm_${this.supportedArchitectures.join(', sm_')}; ` +
          'install an NVRTC of the CUDA version that knows the device',
        { fields: { architecture: program.architecture, version: this.version } },
      );
    }
    const headers = Object.entries(program.headers ?? {});
    const handle = new BigUint64Array(1);
    this.#call.nvrtcCreateProgram(
      handle,
      program.source,
      program.name,
      headers.length,
      headers.map(([, text]) => text),
      headers.map(([name]) => name),
    );
    const compiled = handle[0] ?? 0n;
    try {
      const options = this.#options(program);
      const status = await this.#compile(compiled, options.length, options);
      if (status === nvrtcErrorCompilation) {
        throw new SdxlError(
          'ENGINE_BUILD_FAILED',
          `${program.name} does not compile for ${program.architecture}:\n${this.#log(compiled)}`,
          {
            fields: { program: program.name, architecture: program.architecture },
          },
        );
      }
      check(this.#codes, 'nvrtcCompileProgram', status, { what: program.name });
      const size = new BigUint64Array(1);
      this.#call.nvrtcGetCUBINSize(compiled, size);
      const cubin = new Uint8Array(Number(size[0]));
      this.#call.nvrtcGetCUBIN(compiled, cubin);
      return cubin;
    } finally {
      this.#call.nvrtcDestroyProgram(handle);
    }
  }

  #options(program: KernelProgram): readonly string[] {
    return [
      `--gpu-architecture=${program.architecture}`,
      '--std=c++17',
      ...this.#includeFolders.map((folder) => `--include-path=${folder}`),
      ...Object.entries(program.defines ?? {}).map(([name, value]) => `--define-macro=${name}=${value}`),
      ...(program.options ?? []),
    ];
  }

  #log(program: bigint): string {
    const size = new BigUint64Array(1);
    this.#call.nvrtcGetProgramLogSize(program, size);
    const log = new Uint8Array(Number(size[0]));
    this.#call.nvrtcGetProgramLog(program, log);
    return new TextDecoder().decode(log.subarray(0, -1)).trim();
  }
}
