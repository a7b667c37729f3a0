/**
 * Where NVIDIA's libraries are looked for: the one place that knows file names, folders and their order. Any major version
 * named in {@link libraries} will do; nothing is tied to one file.
 */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SdxlError } from '../../../errors/index.js';
import { NativeLibrary } from './native-library.js';

/** File names without version, and the major versions this program speaks, preferred first. */
const libraries = {
  cuda: { stem: 'libcuda.so', majors: [1] },
  nvrtc: { stem: 'libnvrtc.so', majors: [13, 12] },
  'nvrtc-builtins': { stem: 'libnvrtc-builtins.so', majors: [13, 12] },
  cublasLt: { stem: 'libcublasLt.so', majors: [13, 12] },
  cudnn: { stem: 'libcudnn.so', majors: [9] },
  nccl: { stem: 'libnccl.so', majors: [2] },
} as const;
export type LibraryName = keyof typeof libraries;

export const libraryPathVariable = 'SDXL_CUDA_LIBRARY_PATH';

export interface LibrarySearchOptions {
  /** Folders looked in before all others, separated by `:`; each may also be one that holds `lib`, `lib64` or NVIDIA's wheels. */
  readonly libraryPath?: string | undefined;
  /** Where `/usr`, `/opt` and so on are found. */
  readonly root?: string;
  /** Home of the user, for wheels installed with `pip --user`. */
  readonly home?: string | undefined;
}

/** One place a library may be loaded from: a file that exists, or a name left to the loader (its cache, LD_LIBRARY_PATH). */
export interface LibraryCandidate {
  readonly path: string;
  readonly major: number;
}

export class LibrarySearch {
  readonly #options: LibrarySearchOptions;
  #folders: Promise<readonly (string | undefined)[]> | undefined;

  constructor(options: LibrarySearchOptions = {}) {
    this.#options = options;
  }

  /**
   * In the order they are tried. `maxMajor` leaves out newer major versions, for a driver that does not run them; it applies
   * to the toolkit's libraries only.
   */
  async candidates(name: LibraryName, maxMajor = Number.POSITIVE_INFINITY): Promise<readonly LibraryCandidate[]> {
    const { stem, majors } = libraries[name];
    const isToolkit = majors.length > 1;
    const accepted = majors.filter((major) => !isToolkit || major <= maxMajor);
    const found: LibraryCandidate[] = [];
    for (const folder of await this.#searched()) {
      // The loader's own search.
      if (folder === undefined) found.push(...accepted.map((major) => ({ path: `${stem}.${major}`, major })));
      else found.push(...librariesIn(folder, await list(folder), stem, accepted));
    }
    return found;
  }

  /** @throws SdxlError CUDA_UNAVAILABLE telling where it was looked for, what the loader said, and how to point elsewhere. */
  async load(name: LibraryName, options: { readonly maxMajor?: number; readonly global?: boolean } = {}): Promise<NativeLibrary> {
    const failures: string[] = [];
    for (const { path } of await this.candidates(name, options.maxMajor)) {
      try {
        return NativeLibrary.load(path, options);
      } catch (error) {
        failures.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    throw await this.#missing(name, failures);
  }

  /** Loads `name` from the folder that `of` will be loaded from, where it lies there as a file. */
  async loadBeside(of: LibraryName, name: LibraryName, options: { readonly maxMajor?: number } = {}): Promise<NativeLibrary | undefined> {
    const [first] = await this.candidates(of, options.maxMajor);
    if (first?.path.includes('/') !== true) return undefined;
    const folder = dirname(first.path);
    const [beside] = librariesIn(folder, await list(folder), libraries[name].stem, [first.major]);
    return beside === undefined ? undefined : NativeLibrary.load(beside.path, { global: true });
  }

  /** Folders that hold the toolkit's headers: those that lie beside the folders of its libraries. */
  async includeFolders(): Promise<readonly string[]> {
    const beside = (await this.#searched()).filter((folder) => folder !== undefined).map((folder) => join(folder, '..', 'include'));
    const found: string[] = [];
    for (const folder of new Set(beside)) if ((await list(folder)).includes('cuda_fp16.h')) found.push(folder);
    return found;
  }

  async #searched(): Promise<readonly (string | undefined)[]> {
    return (this.#folders ??= searchedFolders(this.#options));
  }

  async #missing(name: LibraryName, failures: readonly string[]): Promise<SdxlError> {
    const { stem, majors } = libraries[name];
    const names = majors.map((major) => `${stem}.${major}`).join(' or ');
    const searched = (await this.#searched()).map((folder) => folder ?? 'the loader’s own path');
    const tried = failures.length === 0 ? '' : `; tried ${failures.join('; ')}`;
    const where =
      name === 'cuda'
        ? 'install the NVIDIA driver, give the container the device (nvidia.com/gpu, --gpus), or compute on the processor: backend Onnx (spec.backend, --backend)'
        : `install it, or name its folder in ${libraryPathVariable}`;
    return new SdxlError('CUDA_UNAVAILABLE', `${names} can't be loaded: looked in ${searched.join(', ')}${tried}; ${where}`, {
      fields: { library: name, searched, variable: libraryPathVariable },
    });
  }
}

/**
 * In order: the override, the toolkit of CUDA images, the loader's own search (undefined), then wheels in the usual places. A
 * folder of the override stands for itself and for what it may contain.
 */
async function searchedFolders(options: LibrarySearchOptions): Promise<readonly (string | undefined)[]> {
  const root = options.root ?? '/';
  const folders: (string | undefined)[] = [];
  for (const folder of (options.libraryPath ?? '').split(':').filter((part) => part !== '')) {
    folders.push(folder, join(folder, 'lib64'), join(folder, 'lib'), ...(await wheelFolders(folder)));
  }
  for (const toolkit of (await list(join(root, 'usr/local'))).filter((name) => /^cuda(?:-|$)/u.test(name)).sort(newestFirst)) {
    folders.push(join(root, 'usr/local', toolkit, 'lib64'));
  }
  folders.push(undefined);
  // Where the driver is mounted into containers.
  folders.push(...['usr/local/nvidia/lib64', 'usr/lib/x86_64-linux-gnu', 'usr/lib/wsl/lib'].map((folder) => join(root, folder)));
  for (const packages of await sitePackages(root, options.home)) folders.push(...(await wheelFolders(join(packages, 'nvidia'))));
  return [...new Set(folders)];
}

/** `nvidia/cu13/lib`, `nvidia/cudnn/lib` and so on under the folder that NVIDIA's wheels share. */
async function wheelFolders(nvidia: string): Promise<readonly string[]> {
  const packages = await list(nvidia);
  return ['cu13', 'cu12', 'cuda_nvrtc', 'cublas', 'cudnn', 'nccl']
    .filter((name) => packages.includes(name))
    .map((name) => join(nvidia, name, 'lib'));
}

async function sitePackages(root: string, home: string | undefined): Promise<readonly string[]> {
  const parents = ['usr/local/lib', 'usr/lib', 'opt/venv/lib', 'venv/lib'].map((parent) => join(root, parent));
  if (home !== undefined) parents.push(join(home, '.local/lib'));
  const found: string[] = [];
  for (const parent of parents) {
    const pythons = (await list(parent)).filter((name) => name.startsWith('python3')).sort(newestFirst);
    for (const python of pythons) found.push(...['site-packages', 'dist-packages'].map((name) => join(parent, python, name)));
  }
  return found;
}

/** The folder's files of one library, by preferred major version, the shortest (least specific) name of each first. */
function librariesIn(folder: string, names: readonly string[], stem: string, majors: readonly number[]): readonly LibraryCandidate[] {
  return majors.flatMap((major) =>
    names
      .filter((name) => name === `${stem}.${major}` || name.startsWith(`${stem}.${major}.`))
      .sort((a, b) => a.length - b.length || newestFirst(a, b))
      .slice(0, 1)
      .map((name) => ({ path: join(folder, name), major })),
  );
}

function newestFirst(a: string, b: string): number {
  return b.localeCompare(a, 'en', { numeric: true });
}

/** Names in a folder; none where there is no such folder. */
async function list(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => []);
}
