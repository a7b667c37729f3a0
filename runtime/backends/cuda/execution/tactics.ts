/**
 * Which tactic runs each library problem: from the timing cache, else timed on the device, else (untuned) the library's first choice.
 * Operations of equal shape share one problem, and its descriptors.
 */
import {
  closeAll,
  deserializeMatmulTactic,
  serializeMatmulTactic,
  type Attention,
  type AttentionProblem,
  type Candidate,
  type Convolution,
  type ConvolutionProblem,
  type CublasLt,
  type Cudnn,
  type CudnnPlan,
  type Device,
  type DeviceMemory,
  type Matmul,
  type MatmulProblem,
  type MatmulTactic,
  type Stream,
  type TimingCache,
  type Tuner,
  type Workspace,
} from '../libraries/index.js';

import { GatedProduct, type GatedProblem, type GatedTactic } from './gated-product.js';
import type { KernelSet } from './kernels.js';

export interface Chosen<Problem, Tactic> {
  readonly problem: Problem;
  readonly tactic: Tactic;
  readonly label: string;
  /** As timed alone; undefined where it was not timed. */
  readonly microseconds: number | undefined;
}

export interface TacticsOptions {
  readonly device: Device;
  readonly stream: Stream;
  readonly cublas: CublasLt;
  readonly cudnn: Cudnn;
  readonly tuner: Tuner;
  readonly workspace: Workspace;
  readonly timings: TimingCache;
  /** Candidates timed for each problem; 1 takes the library's first choice without timing. */
  readonly limit: number;
}

export class Tactics {
  readonly #options: TacticsOptions;
  readonly #matmuls = new Map<string, Promise<Chosen<Matmul, MatmulTactic>>>();
  readonly #convolutions = new Map<string, Promise<Chosen<Convolution, CudnnPlan>>>();
  readonly #attentions = new Map<string, Promise<Chosen<Attention, CudnnPlan>>>();
  readonly #gated = new Map<string, Promise<Chosen<GatedProduct, GatedTactic>>>();
  readonly #closables: { close(): void }[] = [];
  #scratch: DeviceMemory | undefined;

  constructor(options: TacticsOptions) {
    this.#options = options;
  }

  /** Problems asked for, with what runs them. */
  async chosen(): Promise<ReadonlyMap<string, Chosen<unknown, unknown>>> {
    const all = [...this.#matmuls, ...this.#gated, ...this.#convolutions, ...this.#attentions];
    return new Map(await Promise.all(all.map(async ([key, value]) => [key, await value] as const)));
  }

  matmul(problem: MatmulProblem): Promise<Chosen<Matmul, MatmulTactic>> {
    return remember(this.#matmuls, `gemm ${JSON.stringify(problem)}`, (key) => this.#chooseMatmul(key, problem));
  }

  gatedProduct(problem: GatedProblem, kernels: KernelSet, multiprocessors: number): Promise<Chosen<GatedProduct, GatedTactic>> {
    return remember(this.#gated, `gated ${JSON.stringify(problem)}`, async (key) => {
      const { m, outputs, k, dtype, bias, ldx, ldw, ldp, ldy } = problem;
      const projection = await this.matmul({ m, n: 2 * outputs, k, dtype, ldx, ldy: ldp, bias, accumulate: false, ldw });
      const { driver } = this.#options.device;
      const product = new GatedProduct(problem, { kernels, driver, multiprocessors, projection });
      this.#closables.push(product);
      return this.#chooseGated(key, product, [2 * m * ldx, 4 * outputs * ldw, 4 * outputs, 2 * m * ldp, 2 * m * ldy]);
    });
  }

  convolution(problem: ConvolutionProblem): Promise<Chosen<Convolution, CudnnPlan>> {
    return remember(this.#convolutions, `conv ${JSON.stringify(problem)}`, async (key) => {
      const operation = this.#options.cudnn.convolution(problem);
      this.#closables.push(operation);
      const { batch, height, width, inChannels, outChannels, kernel } = problem;
      const bytes = [
        2 * batch * height * width * inChannels,
        2 * outChannels * inChannels * kernel * kernel,
        2 * outChannels,
        2 * batch * height * width * outChannels,
      ];
      const weightBytes = bytes[1] ?? 0;
      return this.#chooseCudnn(key, operation, bytes.with(1, rotated(weightBytes)), (plan, [x = 0n, w = 0n, bias = 0n, y = 0n], launch) => {
        operation.run(
          plan,
          { x, w: w + rotation(weightBytes, launch), y, ...(problem.bias ? { bias } : {}), ...(problem.residual ? { residual: y } : {}) },
          this.#options.workspace,
          this.#options.stream,
        );
      });
    });
  }

  attention(problem: AttentionProblem): Promise<Chosen<Attention, CudnnPlan>> {
    return remember(this.#attentions, `attention ${JSON.stringify(problem)}`, async (key) => {
      const operation = this.#options.cudnn.attention(problem);
      this.#closables.push(operation);
      const span = (tokens: number, strides: { batch: number; token: number } | undefined): number =>
        2 * Math.max((strides?.batch ?? 0) * problem.batch, tokens * (strides?.token ?? problem.heads * problem.headDim) * problem.batch);
      const { queryTokens, keyTokens, query, key: keyStrides, value, output } = problem;
      const bytes = [span(queryTokens, query), span(keyTokens, keyStrides), span(keyTokens, value), span(queryTokens, output)];
      return this.#chooseCudnn(key, operation, bytes, (plan, [q = 0n, k = 0n, v = 0n, o = 0n]) => {
        operation.run(plan, { q, k, v, o }, this.#options.workspace, this.#options.stream);
      });
    });
  }

  /** Gives the memory used for timing back. */
  release(): void {
    this.#scratch?.close();
    this.#scratch = undefined;
  }

  close(): void {
    closeAll([{ close: () => this.release() }, ...this.#closables.splice(0).reverse()]);
  }

  async #chooseMatmul(key: string, problem: MatmulProblem): Promise<Chosen<Matmul, MatmulTactic>> {
    const { cublas, timings, limit, workspace, tuner } = this.#options;
    const matmul = cublas.matmul(problem);
    this.#closables.push(matmul);
    const known = timings.get(key);
    const cached = known === undefined ? undefined : deserializeMatmulTactic(known.tactic);
    if (known !== undefined && cached !== undefined && cached.workspaceBytes <= workspace.sizeBytes && matmul.accepts(cached)) {
      return { problem: matmul, tactic: cached, label: known.label, microseconds: known.microseconds };
    }
    const tactics = matmul.candidates(limit, workspace.sizeBytes);
    const [first] = tactics;
    if (first === undefined) throw new Error(`${matmul.name} has no candidates`);
    if (limit === 1) return { problem: matmul, tactic: first, label: matmul.describe(first), microseconds: undefined };
    const { m, n, k, ldx = k, ldw = k, ldy = n } = problem;
    const weightBytes = 2 * n * ldw;
    const [x = 0n, w = 0n, bias = 0n, y = 0n] = this.#operands([
      2 * m * ldx,
      rotated(weightBytes),
      2 * n,
      (problem.outputDtype === 'f32' ? 4 : 2) * m * ldy,
    ]);
    const candidates = tactics.map((tactic): Candidate<MatmulTactic> => ({
      tactic,
      label: matmul.describe(tactic),
      run: (stream, launch) => {
        matmul.run(tactic, { x, w: w + rotation(weightBytes, launch), y, ...(problem.bias ? { bias } : {}) }, workspace, stream);
      },
    }));
    const { tactic, label, microseconds } = await tuner.fastest(candidates, { freeMemsets: true });
    timings.set(key, { tactic: serializeMatmulTactic(tactic), label, microseconds });
    return { problem: matmul, tactic, label, microseconds };
  }

  async #chooseGated(key: string, product: GatedProduct, operandBytes: readonly number[]): Promise<Chosen<GatedProduct, GatedTactic>> {
    const { timings, limit, workspace, tuner } = this.#options;
    const tactics = product.candidates();
    const known = timings.get(key);
    const cached = tactics.find((tactic) => tactic === known?.tactic);
    if (known !== undefined && cached !== undefined)
      return { problem: product, tactic: cached, label: known.label, microseconds: known.microseconds };
    const [first = 'library'] = tactics;
    if (limit === 1 || tactics.length === 1)
      return { problem: product, tactic: first, label: product.describe(first), microseconds: undefined };
    const weightBytes = operandBytes[1] ?? 0;
    const [x = 0n, w = 0n, bias = 0n, projection = 0n, y = 0n] = this.#operands(operandBytes.with(1, rotated(weightBytes)));
    const candidates = tactics.map((tactic): Candidate<GatedTactic> => {
      const runs = Array.from({ length: copiesOf(weightBytes) }, (_, copy) =>
        product.bind(tactic, { x, w: w + rotation(weightBytes, copy), bias, projection, y }, workspace),
      );
      return { tactic, label: product.describe(tactic), run: (stream, launch) => runs[launch % runs.length]?.(stream) };
    });
    const { tactic, label, microseconds } = await tuner.fastest(candidates, { freeMemsets: true });
    timings.set(key, { tactic, label, microseconds });
    return { problem: product, tactic, label, microseconds };
  }

  async #chooseCudnn<Operation extends Convolution | Attention>(
    key: string,
    operation: Operation,
    operandBytes: readonly number[],
    run: (plan: CudnnPlan, operands: readonly bigint[], launch: number) => void,
  ): Promise<Chosen<Operation, CudnnPlan>> {
    const { timings, limit, tuner, workspace } = this.#options;
    const known = timings.get(key);
    const cached = known === undefined ? undefined : operation.deserialize(known.tactic);
    if (cached !== undefined) this.#closables.push(cached);
    if (known !== undefined && cached !== undefined && cached.workspaceBytes <= workspace.sizeBytes) {
      return { problem: operation, tactic: cached, label: known.label, microseconds: known.microseconds };
    }
    const plans = await operation.candidates(limit, workspace.sizeBytes);
    this.#closables.push(...plans);
    const [first] = plans;
    if (first === undefined) throw new Error(`${operation.name} has no plans`);
    if (limit === 1) return { problem: operation, tactic: first, label: first.label, microseconds: undefined };
    const operands = this.#operands(operandBytes);
    const candidates = plans.map((plan): Candidate<CudnnPlan> => ({
      tactic: plan,
      label: plan.label,
      run: (_stream, launch) => {
        run(plan, operands, launch);
      },
    }));
    const { tactic, label, microseconds } = await tuner.fastest(candidates, { freeMemsets: true });
    timings.set(key, { tactic: tactic.serialize(), label, microseconds });
    return { problem: operation, tactic, label, microseconds };
  }

  /** Memory for operands of the given sizes, filled with ordinary numbers: a device computes zeros faster. */
  #operands(sizes: readonly number[]): readonly bigint[] {
    const aligned = sizes.map((bytes) => Math.ceil(bytes / 256) * 256);
    const total = aligned.reduce((sum, bytes) => sum + bytes, 0);
    if (this.#scratch === undefined || this.#scratch.sizeBytes < total) {
      this.release();
      this.#scratch = this.#options.device.allocate(total, 'timing tactics');
      fillRandom(this.#options.device, this.#scratch);
    }
    let address = this.#scratch.pointer;
    return aligned.map((bytes) => {
      const here = address;
      address += BigInt(bytes);
      return here;
    });
  }
}

/** Weights of so many bytes in all are used in turn: a job finds none in the device's cache. */
const rotatedBytes = 128 << 20;

function copiesOf(weightBytes: number): number {
  return Math.min(16, Math.max(1, Math.ceil(rotatedBytes / Math.max(1, weightBytes))));
}

function alignedBytes(weightBytes: number): number {
  return Math.ceil(weightBytes / 256) * 256;
}

/** Bytes of all copies. */
function rotated(weightBytes: number): number {
  return alignedBytes(weightBytes) * copiesOf(weightBytes);
}

/** Where a launch finds its copy. */
function rotation(weightBytes: number, launch: number): bigint {
  return BigInt((launch % copiesOf(weightBytes)) * alignedBytes(weightBytes));
}

/** 16-bit numbers of magnitude 2⁻³ to 2⁻¹ in fp16 (as bf16 they are small as well), of both signs. */
function fillRandom(device: Device, memory: DeviceMemory): void {
  const block = new Uint16Array(Math.min(2 << 20, Math.ceil(memory.sizeBytes / 2)));
  let state = 0x9e3779b9;
  for (let index = 0; index < block.length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const mantissa = (state >>> 16) & 0x7ff;
    block[index] = ((state & 0x80000000) === 0 ? 0 : 0x8000) | (0x3000 + mantissa);
  }
  for (let offset = 0; offset < memory.sizeBytes; offset += block.byteLength) {
    const bytes = Math.min(block.byteLength, memory.sizeBytes - offset);
    device.copyToDevice(memory.pointer + BigInt(offset), new Uint8Array(block.buffer, 0, bytes));
  }
}

function remember<T>(known: Map<string, Promise<T>>, key: string, make: (key: string) => Promise<T>): Promise<T> {
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = make(key);
  known.set(key, made);
  return made;
}
