/**
 * Small workspaces that libraries clear before each of their kernels, one for every call of a graph, cleared together: a memset
 * between two kernels costs about two microseconds (bench/gpu/libraries.ts), and a step of SDXL's UNet has some 300.
 *
 * Use: bind every call to its own {@link take}; in the capture {@link clear} first, then the calls; {@link removeMemsets} before
 * the graph is instantiated. Calls that run outside the graph clear their workspace themselves, as ever.
 */
import type { Device } from './device.js';
import type { Graph } from './graph.js';
import type { Workspace } from './matmul.js';
import type { DeviceMemory } from './memory.js';
import type { Stream } from './stream.js';

/** Larger ones hold partial results: clearing those ahead of time would cost more than it saves. */
const largestClearedWorkspace = 64 << 10;
const alignment = 256;

export class ClearedWorkspaces implements Disposable {
  readonly #memory: DeviceMemory;
  #used = 0;

  constructor(device: Device, capacityBytes: number) {
    this.#memory = device.allocate(capacityBytes, 'workspaces that are cleared together');
  }

  /** A part nobody else has; undefined where the size is 0 or too large, or nothing is left: share another workspace then. */
  take(sizeBytes: number): Workspace | undefined {
    const needed = Math.ceil(sizeBytes / alignment) * alignment;
    if (needed === 0 || needed > largestClearedWorkspace || this.#used + needed > this.#memory.sizeBytes) return undefined;
    const pointer = this.#memory.pointer + BigInt(this.#used);
    this.#used += needed;
    return { pointer, sizeBytes: needed };
  }

  /** Makes all parts free, for calls that are bound anew. */
  reset(): void {
    this.#used = 0;
  }

  clear(stream: Stream): void {
    if (this.#used > 0) stream.fill(this.#memory.pointer, 0, this.#used);
  }

  /** From a graph whose first work on these parts is {@link clear}. Returns how many there were. */
  removeMemsets(graph: Graph): number {
    return this.#used === 0 ? 0 : graph.removeMemsets({ pointer: this.#memory.pointer, sizeBytes: this.#used });
  }

  close(): void {
    this.#memory.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
