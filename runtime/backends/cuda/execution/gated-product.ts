/**
 * The feed-forward's projection with its gate, `y = value · GELU(gate)` of the halves of `x·Wᵀ + bias`: by a library's product and a
 * kernel over its result, or (Hopper) by kernels/gated-product.cu, which keeps the projection out of memory. Timed like any tactic.
 */
import {
  KernelArguments,
  tensorMap,
  type DevicePointer,
  type Driver,
  type Matmul,
  type MatmulTactic,
  type Stream,
  type Workspace,
} from '../libraries/index.js';
import { gegluKernelLaunch } from './kernel-launches.js';
import type { HalfType, KernelSet } from './kernels.js';
import { enqueueKernel, type KernelLaunch } from './launch.js';

export interface GatedProblem {
  readonly m: number;
  /** Columns of y; W has twice as many rows: the value's, then the gate's. */
  readonly outputs: number;
  readonly k: number;
  readonly dtype: HalfType;
  readonly bias: boolean;
  /** Elements from one row to the next. */
  readonly ldx: number;
  readonly ldw: number;
  readonly ldp: number;
  readonly ldy: number;
}

export interface GatedOperands {
  readonly x: DevicePointer;
  readonly w: DevicePointer;
  readonly bias: DevicePointer;
  /** Room for the projection, which only the library's product needs. */
  readonly projection: DevicePointer;
  readonly y: DevicePointer;
}

/** Blocks of one cluster by tactic. */
const clusters = { gatedProduct1: 1, gatedProduct2: 2 } as const;
type FusedTactic = keyof typeof clusters;
export type GatedTactic = FusedTactic | 'library';

/** As in kernels/gated-product.cu. */
const tile = { rows: 128, outputs: 128, depth: 64, threads: 384, sharedBytes: 4 * (128 + 256) * 128 + 256 + 4 * 512 + 1024 } as const;
const blockRows = 32;

export interface GatedParts {
  readonly kernels: KernelSet;
  readonly driver: Driver;
  readonly multiprocessors: number;
  readonly projection: { readonly problem: Matmul; readonly tactic: MatmulTactic; readonly label: string };
}

export class GatedProduct implements Disposable {
  readonly problem: GatedProblem;
  readonly #parts: GatedParts;
  readonly #held: KernelArguments[] = [];

  constructor(problem: GatedProblem, parts: GatedParts) {
    this.problem = problem;
    this.#parts = parts;
  }

  /** Of the library's product. */
  get workspaceBytes(): number {
    return this.#parts.projection.tactic.workspaceBytes;
  }

  /** What runs here, the likeliest first. */
  candidates(): readonly GatedTactic[] {
    const { outputs, k, ldx, ldw, ldy } = this.problem;
    const isAligned = outputs % blockRows === 0 && [k, ldx, ldw, ldy].every((elements) => elements % 8 === 0);
    return isAligned && this.#parts.kernels.gatedProduct1 !== undefined ? ['gatedProduct1', 'gatedProduct2', 'library'] : ['library'];
  }

  describe(tactic: GatedTactic): string {
    return tactic === 'library' ? `${this.#parts.projection.label}, geglu` : tactic;
  }

  /** What enqueues it, at addresses that stay. Valid until {@link close}. */
  bind(tactic: GatedTactic, operands: GatedOperands, workspace: Workspace): (stream: Stream) => void {
    if (tactic !== 'library') {
      const launch = this.#fused(tactic, operands);
      return (stream) => enqueueKernel(launch, stream);
    }
    const project = this.bindProjection(operands, workspace);
    const { kernels } = this.#parts;
    const { m, outputs, ldp, ldy } = this.problem;
    const gate = gegluKernelLaunch(
      kernels,
      { pointer: operands.projection, stride: ldp },
      { pointer: operands.y, stride: ldy },
      m,
      outputs,
    );
    this.#held.push(gate.values);
    return (stream) => {
      project(stream);
      enqueueKernel(gate, stream);
    };
  }

  /** The library's product alone. */
  bindProjection({ x, w, bias, projection }: GatedOperands, workspace: Workspace): (stream: Stream) => void {
    const { problem, tactic } = this.#parts.projection;
    const operands = { x, w, y: projection, ...(this.problem.bias ? { bias } : {}) };
    return (stream) => {
      problem.run(tactic, operands, workspace, stream);
    };
  }

  close(): void {
    for (const values of this.#held.splice(0)) values.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #fused(tactic: FusedTactic, { x, w, bias, y }: GatedOperands): KernelLaunch {
    const { kernels, driver, multiprocessors } = this.#parts;
    const kernel = kernels[tactic];
    if (kernel === undefined) throw new Error(`${tactic} is not made for this device`);
    const { m, outputs, k, dtype, ldx, ldw, ldy } = this.problem;
    const cluster = clusters[tactic];
    const rowBytes = ldw * 2;
    const xMap = tensorMap(driver, {
      dtype,
      address: x,
      sizes: [k, m],
      strideBytes: [ldx * 2],
      box: [tile.depth, tile.rows],
    });
    // Row 8t + 2g + e of each 32 rows: axes e, t and g, then the blocks of 32.
    const wMap = tensorMap(driver, {
      dtype,
      address: w,
      sizes: [k, 2, 4, 4, (2 * outputs) / blockRows],
      strideBytes: [rowBytes, 8 * rowBytes, 2 * rowBytes, blockRows * rowBytes],
      box: [tile.depth, 2, 4, 4, tile.outputs / blockRows],
    });
    const values = new KernelArguments([
      { bytes: xMap },
      { bytes: wMap },
      { pointer: this.problem.bias ? bias : 0n },
      { pointer: y },
      { i64: ldy },
      { i32: m },
      { i32: outputs },
      { i32: k },
    ]);
    this.#held.push(values);
    kernel.setMaxDynamicSharedMemory(tile.sharedBytes);
    const tiles = Math.ceil(m / (tile.rows * cluster)) * Math.ceil(outputs / tile.outputs);
    const grid = Math.min(Math.floor(multiprocessors / cluster), tiles) * cluster;
    return { kernel, grid: [grid], block: [tile.threads], sharedBytes: tile.sharedBytes, values, programmatic: true };
  }
}
