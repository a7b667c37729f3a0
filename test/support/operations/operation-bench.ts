/**
 * Runs single operations on a device as the engine binds them, by every tactic, and measures them against their reference. What an
 * operation writes is poisoned beforehand, and counted afterwards: everything it should write and nothing else.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bindOperation } from '../../../runtime/backends/cuda/execution/bind.js';
import { GatedProduct } from '../../../runtime/backends/cuda/execution/gated-product.js';
import { Addresses, type Launch } from '../../../runtime/backends/cuda/execution/launch.js';
import { Session } from '../../../runtime/backends/cuda/execution/session.js';
import { Tactics } from '../../../runtime/backends/cuda/execution/tactics.js';
import {
  architectureName,
  KernelArguments,
  Nvrtc,
  serializeMatmulTactic,
  TimingCache,
  type DeviceMemory,
  type DevicePointer,
  type Kernel,
} from '../../../runtime/backends/cuda/libraries/index.js';
import { CudnnOperation } from '../../../runtime/backends/cuda/libraries/cudnn-operation.js';
import { Matmul } from '../../../runtime/backends/cuda/libraries/matmul.js';
import type { BufferSpec } from '../../../runtime/backends/cuda/plan/program.js';
import { elementBytes, type BufferId, type ElementType } from '../../../runtime/backends/cuda/plan/view.js';
import { toSdxlError } from '../../../runtime/errors/index.js';
import { contentsOf, encode, fillsOf, fromHalf, period, type HalfType, type LoneOperation } from './lone-operation.js';
import { referenceOf, type Reference } from './reference.js';

/** One run of an operation. */
export interface Outcome {
  readonly label: string;
  /** ‖found − reference‖ / ‖reference‖ over the samples. */
  readonly relative: number;
  /** Greatest error of a sample by what one sample may be off; more than 1 is too much. */
  readonly worst: number;
  /** Elements of the output's buffer that hold the poison although they were to be written, or do not although they were not. */
  readonly misplaced: number;
  readonly failure: string | undefined;
}

export interface Measured {
  readonly outcomes: readonly Outcome[];
  /** Tactics that the library refused to run. */
  readonly refused: number;
}

/**
 * Half a unit in the last place. The rounding of a result alone is off by 0.29 units on average, hence 2.8e-4 (fp16) and 2.3e-3 (bf16)
 * relative; sums in another order and probabilities in 16 bits add less than as much again. fp32 statistics are sums over 10⁵
 * elements and more.
 */
const rounding = { f16: 2 ** -11, bf16: 2 ** -8, f32: 2 ** -17 } as const;
const relativeLimit = { f16: 6e-4, bf16: 4.8e-3, f32: 2e-5 } as const;
const sampleCount = 256;

/** A copy by few threads, so that whatever does not wait for it is early; look-ups of samples; a count of poison. */
const source = `
extern "C" __global__ void slowCopy(const unsigned short* from, unsigned short* to, long long count) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (long long)blockDim.x) to[i] = from[i];
}
extern "C" __global__ void gather(const unsigned short* y, const long long* at, int words, int count, unsigned short* found) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) for (int word = 0; word < words; word++) found[i * words + word] = y[at[i] * words + word];
}
extern "C" __global__ void countPoison(const unsigned short* y, long long count, int words, unsigned long long* total) {
  unsigned long long found = 0;
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (long long)blockDim.x) {
    bool poison = true;
    for (int word = 0; word < words; word++) poison = poison && y[i * words + word] == 0xffff;
    found += poison;
  }
  atomicAdd(total, found);
}
`;

interface Kernels {
  readonly slowCopy: Kernel;
  readonly gather: Kernel;
  readonly countPoison: Kernel;
}

export class OperationBench {
  readonly #session: Session;
  readonly #kernels: Kernels;
  readonly #directory: string;
  /** Memory of {@link #gathered} samples, their places, and a counter. */
  readonly #small: DeviceMemory;

  private constructor(session: Session, kernels: Kernels, directory: string) {
    this.#session = session;
    this.#kernels = kernels;
    this.#directory = directory;
    this.#small = session.device.allocate(3 * smallBytes, 'samples');
  }

  static async open(): Promise<OperationBench> {
    const directory = await mkdtemp(join(tmpdir(), 'sdxl-operations-'));
    const session = await Session.open({
      device: 0,
      cacheDirectory: directory,
      libraryPath: process.env['SDXL_CUDA_LIBRARY_PATH'],
      onDamage: () => undefined,
    });
    const { device, driver, search } = session;
    const nvrtc = await Nvrtc.open(search, driver.cudaVersion[0]);
    const architecture = architectureName(device.properties.computeCapability);
    const module = device.loadModule(await nvrtc.compile({ name: 'operation-bench.cu', source, architecture }));
    const kernels = { slowCopy: module.kernel('slowCopy'), gather: module.kernel('gather'), countPoison: module.kernel('countPoison') };
    return new OperationBench(session, kernels, directory);
  }

  /** What the device and its libraries are. */
  describe(): string {
    const { device, cublasLt, cudnn, nvrtc } = this.#session.identity();
    return `${device ?? ''}, cuBLASLt ${cublasLt ?? ''}, cuDNN ${cudnn ?? ''}, NVRTC ${nvrtc ?? ''}`;
  }

  /** By the first choice, after a slow producer in a graph, and by up to `tactics` tactics. */
  async measure(lone: LoneOperation, half: HalfType, tactics: number): Promise<Measured> {
    const stage = new Staged(lone, half, this.#session);
    try {
      return await this.#measure(stage, tactics);
    } finally {
      stage.close();
    }
  }

  async close(): Promise<void> {
    this.#small.close();
    await this.#session.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #measure(stage: Staged, limit: number): Promise<Measured> {
    const session = this.#session;
    const outcomes: Outcome[] = [];
    let refused = 0;
    const first = this.#tactics(new TimingCache(session.identity()));
    try {
      const launch = await this.#bind(stage, first);
      outcomes.push(this.#run(stage, `${launch.label} (first choice)`, () => launch.enqueue(session.stream)));
      outcomes.push(this.#run(stage, `${launch.label} (in a graph, after a slow producer)`, () => this.#replay(stage, launch)));
      for (const [key, { problem }] of await first.chosen()) {
        for (const tactic of await serializedTactics(problem, limit, session.workspace.sizeBytes)) {
          const timings = new TimingCache(session.identity(), [[key, { tactic, label: tactic.slice(0, 24), microseconds: 0 }]]);
          const seeded = this.#tactics(timings);
          try {
            const by = await this.#bind(stage, seeded);
            outcomes.push(this.#run(stage, by.label, () => by.enqueue(session.stream)));
          } catch (error) {
            const { code } = toSdxlError(error);
            if (code === 'CUDA_FAILED' || code === 'INTERNAL') throw error;
            refused++;
          } finally {
            seeded.close();
          }
        }
      }
    } finally {
      first.close();
    }
    return { outcomes, refused };
  }

  #tactics(timings: TimingCache): Tactics {
    const { device, stream, cublas, cudnn, tuner, workspace } = this.#session;
    return new Tactics({ device, stream, cublas, cudnn, tuner, workspace, timings, limit: 1 });
  }

  async #bind({ lone, half, addresses }: Staged, tactics: Tactics): Promise<Launch> {
    const session = this.#session;
    const { properties } = session.device;
    return bindOperation(lone.operation, {
      kernels: await session.kernels(half),
      tactics,
      addresses,
      scratch: session.scratch,
      workspaceFor: () => session.workspace,
      half,
      limits: properties,
      programmatic: properties.computeCapability[0] >= 9,
      collectives: undefined,
    });
  }

  /** As the engine runs it, in a graph: its inputs are poison until a slow kernel right before it has written them. */
  #replay(stage: Staged, launch: Launch): void {
    const { stream } = this.#session;
    const held: KernelArguments[] = [];
    const graph = stream.capture(() => {
      for (const { memory, pristine, bytes } of stage.activations()) {
        stream.fill(memory, 0xffff, bytes / 2, 2);
        const values = new KernelArguments([{ pointer: pristine }, { pointer: memory }, { i64: bytes / 2 }]);
        held.push(values);
        this.#kernels.slowCopy.launch([8], [512], 0, stream, values);
      }
      launch.enqueue(stream);
    });
    const executable = graph.instantiate();
    for (let run = 0; run < 3; run++) {
      if (run > 0) stage.restore();
      executable.launch(stream);
    }
    stream.synchronize();
    executable.close();
    graph.close();
    for (const values of held) values.close();
  }

  #run(stage: Staged, label: string, enqueue: () => void): Outcome {
    const { stream, workspace } = this.#session;
    stage.restore();
    stream.fill(workspace.pointer, 0xffff, workspace.sizeBytes / 2, 2);
    enqueue();
    const { found, poison } = this.#gathered(stage);
    return { label, ...stage.judge(found, poison) };
  }

  #gathered({ samples, output }: Staged): { readonly found: Uint16Array; readonly poison: number } {
    const { device, stream } = this.#session;
    const [places, found, counter] = [0, 1, 2].map((part) => this.#small.pointer + BigInt(part * smallBytes));
    if (places === undefined || found === undefined || counter === undefined) throw new Error('no memory for samples');
    const words = elementBytes[output.type] / 2;
    // Everything else is on the stream: what the host copies must come after it.
    stream.synchronize();
    device.copyToDevice(places, samples.places);
    device.copyToDevice(counter, new BigUint64Array(1));
    const count = samples.places.length;
    using gather = new KernelArguments([
      { pointer: output.pointer },
      { pointer: places },
      { i32: words },
      { i32: count },
      { pointer: found },
    ]);
    this.#kernels.gather.launch([Math.ceil(count / 128)], [128], 0, stream, gather);
    using counting = new KernelArguments([{ pointer: output.pointer }, { i64: output.elements }, { i32: words }, { pointer: counter }]);
    this.#kernels.countPoison.launch([256], [256], 0, stream, counting);
    stream.synchronize();
    const result = { found: new Uint16Array(count * words), poison: new BigUint64Array(1) };
    device.copyToHost(result.found, found);
    device.copyToHost(result.poison, counter);
    return { found: result.found, poison: Number(result.poison[0]) };
  }
}

/** For more samples than any operation has. */
const smallBytes = 64 << 10;

/** An operation with its buffers on the device, and what is expected of it. */
class Staged {
  readonly lone: LoneOperation;
  readonly half: HalfType;
  readonly addresses: Addresses;
  readonly output: { readonly pointer: DevicePointer; readonly elements: number; readonly type: ElementType };
  readonly samples: { readonly places: BigInt64Array; readonly expected: readonly number[] };
  readonly #session: Session;
  readonly #memory = new Map<BufferId, DeviceMemory>();
  /** Copies of what the operation reads and runs may overwrite. */
  readonly #pristine = new Map<BufferId, DeviceMemory>();
  readonly #reference: Reference;

  constructor(lone: LoneOperation, half: HalfType, session: Session) {
    this.lone = lone;
    this.half = half;
    this.#session = session;
    const { operation, buffers } = lone;
    const reads = new Set(fillsOf(operation).keys());
    const contents = contentsOf(lone, half);
    for (const [buffer, spec] of buffers) {
      this.#memory.set(buffer, this.#allocate(spec));
      if (!reads.has(buffer)) continue;
      const block = Float32Array.from({ length: Math.min(spec.elements, period) }, (_, index) => contents(buffer, index));
      this.#fill(this.#at(buffer), spec, block);
      if (spec.role === 'weight' || spec.type === 'i64') continue;
      const pristine = this.#allocate(spec);
      this.#pristine.set(buffer, pristine);
      session.device.copy(pristine.pointer, this.#at(buffer), spec.elements * elementBytes[spec.type]);
    }
    this.addresses = new Addresses((buffer) => this.#at(buffer));
    this.#reference = referenceOf(operation, contents);
    const elements = this.#reference.samples(sampleCount);
    this.samples = {
      places: BigInt64Array.from(elements, (element) => BigInt(this.#reference.place(element))),
      expected: elements.map((element) => this.#reference.value(element)),
    };
    const { buffer } = operation.y;
    this.output = { pointer: this.#at(buffer), elements: buffers.get(buffer)?.elements ?? 0, type: operation.y.type };
  }

  /** Everything as before the first run: the output holds what it is added to, or poison. */
  restore(): void {
    const { stream } = this.#session;
    const { buffer } = this.lone.operation.y;
    const { pointer, elements, type } = this.output;
    const bytes = elements * elementBytes[type];
    const pristine = this.#pristine.get(buffer);
    if (pristine === undefined) stream.fill(pointer, 0xffff, bytes / 2, 2);
    else stream.copy(pointer, pristine.pointer, bytes);
  }

  /** What operations before this one would have written, but for what it adds to in place. */
  *activations(): Generator<{ readonly memory: DevicePointer; readonly pristine: DevicePointer; readonly bytes: number }> {
    for (const [buffer, { pointer, sizeBytes }] of this.#pristine) {
      if (buffer !== this.lone.operation.y.buffer) yield { memory: this.#at(buffer), pristine: pointer, bytes: sizeBytes };
    }
  }

  judge(bits: Uint16Array, poison: number): Omit<Outcome, 'label'> {
    const { expected } = this.samples;
    const type = this.output.type === 'half' ? this.half : 'f32';
    const found = type === 'f32' ? new Float32Array(bits.buffer) : fromHalf(bits, type);
    const square = expected.reduce((sum, value) => sum + value ** 2, 0);
    const scale = Math.sqrt(square / expected.length);
    let [difference, worst] = [0, 0];
    expected.forEach((value, index) => {
      const error = Math.abs((found[index] ?? Number.NaN) - value);
      difference += error ** 2;
      const share = error / (rounding[type] * (2 * Math.abs(value) + 4 * scale));
      // Not a number is worst of all.
      if (!(share <= worst)) worst = Number.isNaN(share) ? Infinity : share;
    });
    const relative = Math.sqrt(difference / square);
    const { output } = this;
    const unwritten = this.#pristine.has(this.lone.operation.y.buffer) ? 0 : output.elements - this.#reference.count;
    const misplaced = Math.abs(poison - unwritten);
    const reasons = [
      ...(relative <= relativeLimit[type] ? [] : [`relative error ${relative.toExponential(2)} above ${String(relativeLimit[type])}`]),
      ...(worst <= 1 ? [] : [`an element is off by ${worst.toFixed(1)} × what rounding allows`]),
      ...(misplaced === 0 ? [] : [`${String(misplaced)} elements not written, or written beside the output`]),
    ];
    return { relative, worst, misplaced, failure: reasons.length === 0 ? undefined : reasons.join('; ') };
  }

  close(): void {
    this.#session.stream.synchronize();
    for (const memory of [...this.#memory.values(), ...this.#pristine.values()]) memory.close();
  }

  #allocate({ elements, type }: BufferSpec): DeviceMemory {
    return this.#session.device.allocate(elements * elementBytes[type], 'operands');
  }

  #at(buffer: BufferId): DevicePointer {
    const memory = this.#memory.get(buffer);
    if (memory === undefined) throw new Error(`${this.lone.label} has no buffer ${String(buffer)}`);
    return memory.pointer;
  }

  /** One period from the host, then doubled on the device. */
  #fill(pointer: DevicePointer, { elements, type }: BufferSpec, values: Float32Array): void {
    const { device } = this.#session;
    const total = elements * elementBytes[type];
    const block = encode(values, type, this.half);
    device.copyToDevice(pointer, block);
    for (let done = block.byteLength; done < total; done *= 2) device.copy(pointer + BigInt(done), pointer, Math.min(done, total - done));
  }
}

/** As a timing cache holds them; those that ask for more scratch memory than there is are left out. */
async function serializedTactics(problem: unknown, limit: number, workspaceBytes: number): Promise<readonly string[]> {
  if (problem instanceof GatedProduct) return problem.candidates();
  if (problem instanceof Matmul) return problem.candidates(limit, workspaceBytes).map(serializeMatmulTactic);
  if (!(problem instanceof CudnnOperation)) return [];
  const plans = await problem.candidates(limit, workspaceBytes);
  const texts = plans.filter((plan) => plan.workspaceBytes <= workspaceBytes).map((plan) => plan.serialize());
  for (const plan of plans) plan.close();
  return texts;
}
