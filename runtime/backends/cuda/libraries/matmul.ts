/**
 * One matrix product by cuBLASLt: row-major `Y[m, n] = X[m, k] · W[n, k]ᵀ (+ bias[n]) (+ Y)`, accumulated in fp32. W lies as
 * safetensors hold a linear layer. To the column-major library this is D[n, m] = Wᵀ[n, k] · X[k, m].
 */
import { SdxlError } from '../../../errors/index.js';
import { closeAll } from './close-all.js';
import {
  algoAttribute,
  algoBytes,
  capability,
  compute32F,
  cudaDataType,
  epilogue,
  layoutAttribute,
  matmulAttribute,
  preferenceAttribute,
  resultLayout,
  transposed,
} from './cublaslt-functions.js';
import type { CublasLt } from './cublaslt.js';
import type { DevicePointer } from './memory.js';
import { NativeMemory } from './native-memory.js';
import { check } from './status.js';
import type { Stream } from './stream.js';

export interface MatmulProblem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly dtype: 'f16' | 'bf16';
  readonly bias: boolean;
  /** Of Y; that of X and W where not given. */
  readonly outputDtype?: 'f32';
  /** The product is multiplied by this; 1 where not given. */
  readonly factor?: number;
  /** Whether the product is added to what Y holds. */
  readonly accumulate: boolean;
  /** Elements from one row to the next; k, k and n where not given. */
  readonly ldx?: number;
  readonly ldw?: number;
  readonly ldy?: number;
  /** Several products at constant distances, in elements; 0 for an operand they share. No bias. */
  readonly batch?: { readonly count: number; readonly strideX: number; readonly strideW: number; readonly strideY: number };
  /** Multiprocessors to leave to others; all are used where not given. */
  readonly multiprocessors?: number;
}

/** An algorithm for one problem. Serialised, it holds for the same cuBLASLt version and device. */
export interface MatmulTactic {
  readonly algo: Uint8Array;
  readonly workspaceBytes: number;
}

export interface MatmulOperands {
  readonly x: DevicePointer;
  readonly w: DevicePointer;
  readonly y: DevicePointer;
  readonly bias?: DevicePointer;
}

/** Scratch memory of one stream: kernels of one stream may share it. */
export interface Workspace {
  readonly pointer: DevicePointer;
  readonly sizeBytes: number;
}

/** What the library may ask for on Hopper; one such workspace per stream. */
export const matmulWorkspaceBytes = 32 << 20;

/** The heuristic checks the alignment of this address in place of the bias's. */
const alignedPlaceholder = 0x1000n;

/** How many tiles and clusters next to the heuristic's choice are tried: cublasLt numbers them, and refuses what it lacks. */
const clusterShapes = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10] as const;

export class Matmul implements Disposable {
  readonly problem: MatmulProblem;
  readonly #library: CublasLt;
  readonly #operation: bigint;
  readonly #layouts: { readonly w: bigint; readonly x: bigint; readonly y: bigint };
  readonly #scales: NativeMemory;
  #bias: DevicePointer | undefined;
  #open = true;

  constructor(library: CublasLt, problem: MatmulProblem) {
    const { m, n, k, dtype, bias, accumulate, batch, ldx = k, ldw = k, ldy = n } = problem;
    this.problem = problem;
    this.#library = library;
    const { call } = library;
    const type = cudaDataType[dtype];
    this.#operation = created((handle) => call.cublasLtMatmulDescCreate(handle, compute32F, cudaDataType.f32));
    this.#setOperation(matmulAttribute.transposeA, Int32Array.of(transposed));
    this.#setOperation(matmulAttribute.epilogue, Int32Array.of(bias ? epilogue.bias : epilogue.none));
    if (bias) {
      this.#setOperation(matmulAttribute.biasDataType, Int32Array.of(type));
      this.#setBias(alignedPlaceholder);
    }
    if (problem.multiprocessors !== undefined) this.#setOperation(matmulAttribute.multiprocessors, Int32Array.of(problem.multiprocessors));
    const layout = (rows: number, columns: number, ld: number, stride: number | undefined, of: number = type): bigint => {
      const handle = created((out) => call.cublasLtMatrixLayoutCreate(out, of, rows, columns, ld));
      if (batch !== undefined) {
        call.cublasLtMatrixLayoutSetAttribute(handle, layoutAttribute.batchCount, Int32Array.of(batch.count), 4);
        call.cublasLtMatrixLayoutSetAttribute(handle, layoutAttribute.stridedBatchOffset, BigInt64Array.of(BigInt(stride ?? 0)), 8);
      }
      return handle;
    };
    this.#layouts = {
      w: layout(k, n, ldw, batch?.strideW),
      x: layout(k, m, ldx, batch?.strideX),
      y: layout(n, m, ldy, batch?.strideY, cudaDataType[problem.outputDtype ?? dtype]),
    };
    // alpha, beta
    this.#scales = NativeMemory.ofFloats([problem.factor ?? 1, accumulate ? 1 : 0]);
  }

  /** For messages: `f16 [2048×640]·[1920×640]ᵀ + bias`. */
  get name(): string {
    const { m, n, k, dtype, outputDtype, bias, accumulate, batch } = this.problem;
    const count = batch === undefined ? '' : `${batch.count} × `;
    return `${dtype} ${count}[${m}×${k}]·[${n}×${k}]ᵀ${bias ? ' + bias' : ''}${accumulate ? ' + y' : ''}${outputDtype === undefined ? '' : `, ${outputDtype}`}`;
  }

  /**
   * What is worth timing, the heuristic's first choice first: its results, and their variants in tile, cluster and custom option
   * that the library accepts. `limit` 1 is the quick, untuned mode.
   * @throws SdxlError ENGINE_BUILD_FAILED where the library has no algorithm.
   */
  candidates(limit = 64, workspaceBytes = matmulWorkspaceBytes): readonly MatmulTactic[] {
    const found = new Map<string, MatmulTactic>();
    const add = (tactic: MatmulTactic): void => {
      if (found.size < limit) found.set(serializeMatmulTactic(tactic), tactic);
    };
    const heuristics = this.#heuristics(Math.min(limit, 16), workspaceBytes);
    heuristics.forEach(add);
    for (const { algo } of heuristics) {
      if (found.size >= limit) break;
      for (const variant of this.#variants(algo)) {
        const workspace = this.#accepted(variant);
        if (workspace !== undefined && workspace <= workspaceBytes) add({ algo: variant, workspaceBytes: workspace });
        if (found.size >= limit) break;
      }
    }
    return [...found.values()];
  }

  /** Whether a tactic from a cache still runs here. */
  accepts(tactic: MatmulTactic): boolean {
    return this.#accepted(tactic.algo) !== undefined;
  }

  /** Enqueues the product. Pointers are 16-byte aligned; `workspace` has at least the tactic's bytes. */
  run(tactic: MatmulTactic, operands: MatmulOperands, workspace: Workspace, stream: Stream): void {
    const { x, w, y, bias } = operands;
    if (this.problem.bias && bias !== undefined && bias !== this.#bias) this.#setBias(bias);
    const { handle, unchecked, codes } = this.#library;
    const { w: wLayout, x: xLayout, y: yLayout } = this.#layouts;
    const [alpha, beta] = [this.#scales.address, this.#scales.address + 4n];
    const status = unchecked.cublasLtMatmul(
      handle,
      this.#operation,
      alpha,
      w,
      wLayout,
      x,
      xLayout,
      beta,
      y,
      yLayout,
      y,
      yLayout,
      tactic.algo,
      workspace.pointer,
      workspace.sizeBytes,
      stream.handle,
    );
    check(codes, 'cublasLtMatmul', status, { what: this.name });
  }

  /** `algo 66, tile 23, cluster 5, custom 0, stages 36, split-K 1`: the library's own numbers. */
  describe(tactic: MatmulTactic): string {
    const read = (attribute: number): number => this.#config(tactic.algo, attribute);
    const { id, tile, cluster, custom, stages, splitK } = algoAttribute;
    return `algo ${read(id)}, tile ${read(tile)}, cluster ${read(cluster)}, custom ${read(custom)}, stages ${read(stages)}, split-K ${read(splitK)}`;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const { call } = this.#library;
    const layouts = Object.values(this.#layouts).map((layout) => ({ close: () => call.cublasLtMatrixLayoutDestroy(layout) }));
    closeAll([{ close: () => call.cublasLtMatmulDescDestroy(this.#operation) }, ...layouts, this.#scales]);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #heuristics(count: number, workspaceBytes: number): readonly MatmulTactic[] {
    const { call, unchecked, codes, handle } = this.#library;
    const preference = created((out) => call.cublasLtMatmulPreferenceCreate(out));
    try {
      call.cublasLtMatmulPreferenceSetAttribute(
        preference,
        preferenceAttribute.maxWorkspaceBytes,
        BigUint64Array.of(BigInt(workspaceBytes)),
        8,
      );
      const results = new DataView(new ArrayBuffer(count * resultLayout.sizeBytes));
      const returned = new Int32Array(1);
      const { w, x, y } = this.#layouts;
      const status = unchecked.cublasLtMatmulAlgoGetHeuristic(handle, this.#operation, w, x, y, y, preference, count, results, returned);
      check(codes, 'cublasLtMatmulAlgoGetHeuristic', status, { what: this.name });
      const tactics = Array.from({ length: returned[0] ?? 0 }, (_, index) => index * resultLayout.sizeBytes)
        .filter((offset) => results.getInt32(offset + resultLayout.state, true) === 0)
        .map((offset) => ({
          algo: new Uint8Array(results.buffer.slice(offset, offset + algoBytes)),
          workspaceBytes: Number(results.getBigUint64(offset + resultLayout.workspace, true)),
        }));
      if (tactics.length > 0) return tactics;
      throw new SdxlError('ENGINE_BUILD_FAILED', `cuBLASLt ${this.#library.version} has no algorithm for ${this.name}`, {
        fields: { library: codes.library, problem: this.name },
      });
    } finally {
      call.cublasLtMatmulPreferenceDestroy(preference);
    }
  }

  *#variants(algo: Uint8Array): Generator<Uint8Array> {
    const tiles = this.#capabilities(algo, capability.tiles);
    const customs = Array.from({ length: Math.min(8, (this.#capabilities(algo, capability.customMax)[0] ?? 0) + 1) }, (_, index) => index);
    const own = this.#config(algo, algoAttribute.tile);
    // The heuristic's own tile first: it is the likeliest, and the list may be cut off.
    for (const tile of [own, ...tiles.filter((other) => other !== own)]) {
      for (const cluster of clusterShapes) {
        for (const custom of customs) {
          const variant = algo.slice();
          const { unchecked } = this.#library;
          const statuses = [
            unchecked.cublasLtMatmulAlgoConfigSetAttribute(variant, algoAttribute.tile, Uint32Array.of(tile), 4),
            unchecked.cublasLtMatmulAlgoConfigSetAttribute(variant, algoAttribute.cluster, Uint16Array.of(cluster), 2),
            unchecked.cublasLtMatmulAlgoConfigSetAttribute(variant, algoAttribute.custom, Uint32Array.of(custom), 4),
          ];
          if (statuses.every((status) => status === 0)) yield variant;
        }
      }
    }
  }

  /** The workspace it needs; undefined where the library refuses it. */
  #accepted(algo: Uint8Array): number | undefined {
    const result = new DataView(new ArrayBuffer(resultLayout.sizeBytes));
    const { w, x, y } = this.#layouts;
    const { unchecked, handle } = this.#library;
    if (unchecked.cublasLtMatmulAlgoCheck(handle, this.#operation, w, x, y, y, algo, result) !== 0) return undefined;
    return result.getInt32(resultLayout.state, true) === 0 ? Number(result.getBigUint64(resultLayout.workspace, true)) : undefined;
  }

  #capabilities(algo: Uint8Array, attribute: number): readonly number[] {
    const values = new Uint32Array(1024);
    const written = new BigUint64Array(1);
    const status = this.#library.unchecked.cublasLtMatmulAlgoCapGetAttribute(
      algo,
      attribute,
      values,
      attribute === capability.customMax ? 4 : values.byteLength,
      written,
    );
    return status === 0 ? [...values.subarray(0, Number(written[0]) / 4)] : [];
  }

  #config(algo: Uint8Array, attribute: number): number {
    const value = new Uint32Array(1);
    const isShort = attribute === algoAttribute.cluster || attribute === algoAttribute.inner;
    this.#library.unchecked.cublasLtMatmulAlgoConfigGetAttribute(algo, attribute, value, isShort ? 2 : 4, null);
    return value[0] ?? 0;
  }

  #setBias(pointer: DevicePointer): void {
    this.#setOperation(matmulAttribute.biasPointer, BigUint64Array.of(pointer));
    this.#bias = pointer;
  }

  #setOperation(attribute: number, value: ArrayBufferView): void {
    this.#library.call.cublasLtMatmulDescSetAttribute(this.#operation, attribute, value, value.byteLength);
  }
}

/** As text, for a timing cache. */
export function serializeMatmulTactic({ algo, workspaceBytes }: MatmulTactic): string {
  return `${Buffer.from(algo).toString('base64')} ${workspaceBytes}`;
}

/** Undefined where the text is no tactic. Whether it runs here, {@link Matmul.accepts} tells. */
export function deserializeMatmulTactic(text: string): MatmulTactic | undefined {
  const [algo = '', workspaceBytes = ''] = text.split(' ');
  const bytes = new Uint8Array(Buffer.from(algo, 'base64'));
  return bytes.length === algoBytes && /^\d+$/u.test(workspaceBytes) ? { algo: bytes, workspaceBytes: Number(workspaceBytes) } : undefined;
}

/** Calls a function that writes a handle, and returns the handle. */
function created(create: (out: BigUint64Array) => void): bigint {
  const out = new BigUint64Array(1);
  create(out);
  return out[0] ?? 0n;
}
