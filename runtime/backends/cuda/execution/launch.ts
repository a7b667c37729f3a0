/** Operations bound to memory and tactics: what is enqueued, in order, when a program runs. */
import type { Operation } from '../plan/operations.js';
import { elementBytes, type MatrixView, type View } from '../plan/view.js';
import type { Dim3, Kernel, KernelArguments, Stream } from '../libraries/index.js';

export interface Launch {
  readonly operation: Operation;
  /** The kernel or tactic, for the plan printer. */
  readonly label: string;
  /** As its tactic was timed alone. */
  readonly microseconds: number | undefined;
  readonly enqueue: (stream: Stream) => void;
  /** What of it a library could do, where that is less than the whole: for comparison. */
  readonly libraryPart?: (stream: Stream) => void;
}

/** Addresses of a program's buffers. */
export class Addresses {
  readonly #baseOf: (buffer: number) => bigint;

  constructor(baseOf: (buffer: number) => bigint) {
    this.#baseOf = baseOf;
  }

  buffer(buffer: number): bigint {
    return this.#baseOf(buffer);
  }

  of({ buffer, offset, type }: View | MatrixView): bigint {
    return this.#baseOf(buffer) + BigInt(offset * elementBytes[type]);
  }
}

/** A kernel with its geometry and parameters. */
export interface KernelLaunch {
  readonly kernel: Kernel;
  readonly grid: Dim3;
  readonly block: Dim3;
  readonly sharedBytes: number;
  readonly values: KernelArguments;
  /** Whether the kernel waits for what comes before it by itself (`waitForPrevious`), so that its launch may overlap with that. */
  readonly programmatic?: boolean;
}

export function enqueueKernel({ kernel, grid, block, sharedBytes, values, programmatic = false }: KernelLaunch, stream: Stream): void {
  if (programmatic) kernel.launchProgrammatic(grid, block, sharedBytes, stream, values);
  else kernel.launch(grid, block, sharedBytes, stream, values);
}
