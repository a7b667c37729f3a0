/**
 * A shared library and its functions, typed by signature tables. The only file that knows koffi's functions: what it returns
 * untyped becomes typed here.
 */
import koffi, { type LibraryHandle } from 'koffi';
import { SdxlError } from '../../../errors/index.js';

/** What a caller passes for each native parameter type. A view is passed by its address, for the length of the call. */
export interface ParameterTypes {
  readonly int: number;
  readonly uint: number;
  readonly float: number;
  readonly int64_t: number | bigint;
  readonly uint64_t: number | bigint;
  readonly size_t: number | bigint;
  readonly str: string | null;
  readonly 'const char **': readonly string[];
  readonly 'void *': bigint | ArrayBufferView | null;
  /** Structures passed by value. A plain buffer in their place would send its address. */
  readonly Bytes64: { readonly bytes: Uint8Array };
  readonly Bytes128: { readonly bytes: Uint8Array };
}

interface ResultTypes {
  readonly int: number;
  readonly size_t: number | bigint;
  readonly str: string | null;
}

export type Signature = readonly (keyof ParameterTypes)[];
export type Signatures = Readonly<Record<string, Signature>>;
type Arguments<S extends Signature> = { [I in keyof S]: S[I] extends keyof ParameterTypes ? ParameterTypes[S[I]] : never };

/** Functions that return a status. */
export type StatusFunctions<T extends Signatures> = { readonly [Name in keyof T]: (...args: Arguments<T[Name]>) => number };
/** As {@link StatusFunctions}, with every status checked. */
export type CheckedFunctions<T extends Signatures> = { readonly [Name in keyof T]: (...args: Arguments<T[Name]>) => void };

/** Native calls may recurse deeply (NVRTC's compiler does); must be set before the first library is loaded. */
const stackBytes = 16 << 20;
let configured = false;

function configure(): void {
  if (configured) return;
  koffi.config({ sync_stack_size: stackBytes, async_stack_size: stackBytes });
  koffi.struct('Bytes64', { bytes: koffi.array('uint8_t', 64) });
  koffi.struct('Bytes128', { bytes: koffi.array('uint8_t', 128) });
  configured = true;
}

export class NativeLibrary {
  /** How it was found: a full path, or a name that the loader resolved. */
  readonly path: string;
  readonly #handle: LibraryHandle;

  private constructor(path: string, handle: LibraryHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** Loads a library and its dependencies. Throws the loader's error. `global` offers its symbols to libraries loaded later. */
  static load(path: string, options: { readonly global?: boolean } = {}): NativeLibrary {
    configure();
    return new NativeLibrary(path, koffi.load(path, { global: options.global ?? false }));
  }

  /** @throws SdxlError CUDA_UNAVAILABLE where the library has no such function: it is of another version. */
  declare<R extends keyof ResultTypes, const S extends Signature>(
    name: string,
    result: R,
    parameters: S,
  ): (...args: Arguments<S>) => ResultTypes[R] {
    return this.#find(name, result, parameters) as (...args: Arguments<S>) => ResultTypes[R];
  }

  /** A function that runs on a worker thread. Its buffers must stay reachable and untouched until it resolves. */
  declareAsync<const S extends Signature>(name: string, parameters: S): (...args: Arguments<S>) => Promise<number> {
    const found = this.#find(name, 'int', parameters);
    return (...args) =>
      new Promise((resolve, reject) => {
        found.async(...args, (error: Error | null, status: number) => {
          if (error === null) resolve(status);
          else reject(error);
        });
      });
  }

  /** Every function of the table, unchecked. */
  bind<const T extends Signatures>(signatures: T): StatusFunctions<T> {
    const entries = Object.entries(signatures).map(([name, parameters]) => [name, this.declare(name, 'int', parameters)]);
    return Object.fromEntries(entries) as StatusFunctions<T>;
  }

  #find(name: string, result: string, parameters: Signature): ReturnType<LibraryHandle['func']> {
    try {
      return this.#handle.func(name, result, [...parameters]);
    } catch (cause) {
      throw new SdxlError(
        'CUDA_UNAVAILABLE',
        `${this.path} has no function ${name}: install a newer version of it, or point SDXL_CUDA_LIBRARY_PATH at one`,
        { fields: { library: this.path, function: name }, cause },
      );
    }
  }
}

/** Wraps every function so that `check` sees its status. */
export function checked<T extends Signatures>(
  functions: StatusFunctions<T>,
  check: (functionName: string, status: number) => void,
): CheckedFunctions<T> {
  const entries = Object.keys(functions).map((name: keyof T & string) => {
    const call = functions[name];
    return [name, (...args: Arguments<T[typeof name]>): void => check(name, call(...args))];
  });
  return Object.fromEntries(entries) as CheckedFunctions<T>;
}
