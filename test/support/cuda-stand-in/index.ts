/**
 * The stand-in for NVIDIA's libraries (stand-in.h), compiled where it is needed: a folder of libraries for SDXL_CUDA_LIBRARY_PATH. All of
 * them are one file under several names, so that they share what they know.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NativeLibrary } from '../../../runtime/backends/cuda/libraries/native-library.js';
import { packageFile } from '../../../runtime/package-root.js';

const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0);
/** For suites that need it. */
export const standInSkipReason = compiler === undefined ? 'no C compiler on this machine' : false;

export const standInLibraries = ['libcuda.so.1', 'libnvrtc.so.13', 'libcublasLt.so.13', 'libcudnn.so.9', 'libnccl.so.2'] as const;
export type StandInLibrary = (typeof standInLibraries)[number];

export interface Fault {
  readonly function: string;
  /** The first call is 1. */
  readonly call: number;
  readonly what: 'fail' | 'sticky' | 'hang' | 'kill' | 'stall';
  readonly status?: number;
  /** Only in processes that use this device. */
  readonly device?: number;
}

export interface StandInOptions {
  /** Libraries that are not there. */
  readonly without?: readonly StandInLibrary[];
  /** A function that they lack, as older versions do. */
  readonly lacking?: string;
}

export class CudaStandIn implements Disposable {
  readonly folder: string;
  readonly #file: string;

  constructor({ without = [], lacking }: StandInOptions = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'sdxl-stand-in-'));
    this.#file = join(this.folder, 'stand-in.so');
    const sources = packageFile('test/support/cuda-stand-in');
    const files = readdirSync(sources).flatMap((name) => (name.endsWith('.c') ? [join(sources, name)] : []));
    const renamed = lacking === undefined ? [] : [`-D${lacking}=standInLacks`];
    execFileSync(compiler ?? '', ['-shared', '-fPIC', '-O1', ...renamed, '-o', this.#file, ...files]);
    for (const name of standInLibraries) if (!without.includes(name)) symlinkSync(this.#file, join(this.folder, name));
  }

  /** For a process that is to use it. */
  environment(...faults: readonly Fault[]): Readonly<Record<string, string>> {
    return { SDXL_CUDA_LIBRARY_PATH: this.folder, SDXL_STAND_IN_FAULT: faults.map(faultText).join() };
  }

  /** For this process. */
  control(): StandInControl {
    return new StandInControl(NativeLibrary.load(this.#file));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

const heldKinds = [
  'memory',
  'pinned',
  'stream',
  'event',
  'graph',
  'executable',
  'module',
  'program',
  'descriptor',
  'communicator',
] as const;

export class StandInControl {
  readonly reset: () => number;
  readonly calls: (name: string) => number;
  /** What was not given back before its context ended. */
  readonly abandoned: () => number;
  readonly #live: (kind: string) => number;
  readonly #setFault: (text: string) => number;
  readonly #misuses: () => string | null;

  constructor(library: NativeLibrary) {
    this.reset = library.declare('standInReset', 'int', []);
    this.calls = library.declare('standInCalls', 'int', ['str']);
    this.abandoned = library.declare('standInAbandoned', 'int', []);
    this.#live = library.declare('standInLiveByName', 'int', ['str']);
    this.#setFault = library.declare('standInSetFault', 'int', ['str']);
    this.#misuses = library.declare('standInMisuses', 'str', []);
  }

  arm(fault: Fault): void {
    this.#setFault(faultText(fault));
  }

  /** The first use that the libraries' documentation forbids; empty where there was none. */
  get misuse(): string {
    return this.#misuses() ?? '';
  }

  /** What is held, by kind. */
  held(): Readonly<Partial<Record<(typeof heldKinds)[number], number>>> {
    return Object.fromEntries(heldKinds.map((kind) => [kind, this.#live(kind)] as const).filter(([, count]) => count !== 0));
  }
}

function faultText({ function: name, call, what, status = 0, device = -1 }: Fault): string {
  return [name, call, what, status, device].join(':');
}
