/**
 * A program in memory, ready to run: buffers, bound launches, and the step's graph. Belongs to one session; runs of different programs
 * follow each other on its stream.
 */
import {
  ClearedWorkspaces,
  closeAll,
  type DeviceMemory,
  type ExecutableGraph,
  type PinnedMemory,
  type Stream,
  type Workspace,
} from '../libraries/index.js';
import { stages, type Stage } from '../plan/operations.js';
import type { BufferSpec, Program, ProgramValue, StepForm } from '../plan/program.js';
import { buffersOf } from '../plan/memory.js';
import { elementBytes, product } from '../plan/view.js';
import type { AheadExchanges } from './ahead.js';
import { bindDisplaced } from './bind-displaced.js';
import { bindOperation } from './bind.js';
import type { DeviceCollectives } from './collectives.js';
import { exportLaunch, importLaunch } from './kernel-launches.js';
import type { HalfType, KernelSet } from './kernels.js';
import { Addresses, enqueueKernel, type KernelLaunch, type Launch } from './launch.js';
import type { Session } from './session.js';
import type { Tactics } from './tactics.js';
import type { WeightStore } from './weight-store.js';

export interface DeviceProgramOptions {
  readonly session: Session;
  readonly program: Program;
  readonly weights: WeightStore;
  readonly tactics: Tactics;
  readonly kernels: KernelSet;
  readonly half: HalfType;
  readonly collectives: DeviceCollectives | undefined;
  /** Where the program has displaced steps. */
  readonly ahead?: AheadExchanges | undefined;
}

/** Host memory and device memory through which a value enters or leaves as f32 (ids as i64). */
interface Port {
  readonly value: ProgramValue;
  readonly host: PinnedMemory;
  readonly device: DeviceMemory | undefined;
  readonly bytes: number;
}

/** Attention asks for 256 bytes a call, products with split sums for a few KiB. */
const clearedWorkspaceBytes = 4 << 20;

type Bound = Readonly<Record<Stage, readonly Launch[]>> & { readonly displaced: readonly (readonly Launch[])[] };

export class DeviceProgram {
  readonly program: Program;
  /** Those of the first half, where there are two. */
  readonly addresses: Addresses;
  readonly #otherHalf: Addresses;
  readonly #options: DeviceProgramOptions;
  readonly #persistent: DeviceMemory;
  /** One after the other. */
  readonly #halves: DeviceMemory;
  readonly #cleared: ClearedWorkspaces;
  readonly #inputs: ReadonlyMap<string, Port>;
  readonly #outputs: ReadonlyMap<string, Port>;
  readonly #inputMemory: ReadonlyMap<number, DeviceMemory>;
  #arena = 0n;
  #bound: Bound | undefined;
  #ports: { readonly imports: ReadonlyMap<string, KernelLaunch>; readonly exports: ReadonlyMap<string, KernelLaunch> } | undefined;

  constructor(options: DeviceProgramOptions) {
    const { program, session } = options;
    const { device } = session;
    this.program = program;
    this.#options = options;
    const { persistentBytes, halfBytes } = program.memory;
    this.#persistent = device.allocate(persistentBytes, `values of ${program.name}`);
    this.#halves = device.allocate(2 * halfBytes, `what displaced steps of ${program.name} leave to each other`);
    if (program.displaced !== undefined) {
      // Rows beyond the image's edges are never received: zeros stay.
      if (persistentBytes > 0) session.stream.fill(this.#persistent.pointer, 0, persistentBytes);
      if (halfBytes > 0) session.stream.fill(this.#halves.pointer, 0, 2 * halfBytes);
    }
    this.#cleared = new ClearedWorkspaces(device, clearedWorkspaceBytes);
    const views = new Map(program.inputs.map(({ view }) => [view.buffer, view]));
    this.#inputMemory = new Map(
      [...views].map(([buffer, { type }]) => [
        buffer,
        device.allocate((program.buffers[buffer]?.elements ?? 0) * elementBytes[type], 'inputs'),
      ]),
    );
    const port = (value: ProgramValue, convert: boolean): Port => {
      const bytes = product(value.shape) * (value.view.type === 'i64' ? 8 : 4);
      return { value, bytes, host: device.allocatePinned(bytes), device: convert ? device.allocate(bytes, 'staging') : undefined };
    };
    this.#inputs = new Map(program.inputs.map((value) => [value.name, port(value, value.view.type === 'half')]));
    this.#outputs = new Map(program.outputs.map((value) => [value.name, port(value, true)]));
    this.addresses = new Addresses((buffer) => this.#addressOf(buffer, 0));
    this.#otherHalf = new Addresses((buffer) => this.#addressOf(buffer, 1));
  }

  /** Binds every operation; again where the arena has moved. Returns whether it did. */
  async bind(): Promise<boolean> {
    const { session, program, kernels, tactics, half, collectives } = this.#options;
    const arena = session.arena(program.memory.arenaBytes);
    if (this.#bound !== undefined && arena === this.#arena) return false;
    this.#arena = arena;
    const { scratch, workspace, device } = session;
    const { computeCapability } = device.properties;
    // Not beside NCCL's kernels, whose launches overlap by rules of their own.
    const programmatic = computeCapability[0] >= 9 && collectives === undefined;
    this.#cleared.reset();
    const workspaceFor = (sizeBytes: number): Workspace => this.#cleared.take(sizeBytes) ?? workspace;
    const context = {
      kernels,
      tactics,
      addresses: this.addresses,
      scratch,
      workspaceFor,
      half,
      limits: device.properties,
      programmatic,
      collectives,
    };
    const bound: Record<Stage, Launch[]> & { displaced: Launch[][] } = { prompt: [], timestep: [], step: [], displaced: [] };
    for (const stage of stages) {
      for (const operation of program.operations[stage]) bound[stage].push(await bindOperation(operation, context));
    }
    const { ahead } = this.#options;
    if (program.displaced !== undefined && ahead === undefined) throw new Error(`${program.name} has nothing that sends ahead`);
    if (ahead !== undefined) {
      const halves = [this.addresses, this.#otherHalf] as const;
      bound.displaced = await bindDisplaced(program, halves, { ...context, ahead }, bound.step);
    }
    // Tuning may have asked for memory; the arena itself is only moved by another program.
    tactics.release();
    this.#bound = bound;
    const imports = [...this.#inputs].flatMap(([name, { value, device: staging }]) => {
      if (staging === undefined) return [];
      return [[name, importLaunch(kernels, staging.pointer, this.addresses.of(value.view), value.view, value.shape)] as const];
    });
    const exports = [...this.#outputs].flatMap(([name, { value, device: staging }]) => {
      if (staging === undefined) return [];
      return [[name, exportLaunch(kernels, this.addresses.of(value.view), value.view, value.shape, staging.pointer)] as const];
    });
    this.#ports = { imports: new Map(imports), exports: new Map(exports) };
    return true;
  }

  launches(stage: Stage, form: StepForm = 'synchronous'): readonly Launch[] {
    if (this.#bound === undefined) throw new Error(`${this.program.name} was not bound`);
    if (stage !== 'step' || form === 'synchronous') return this.#bound[stage];
    const launches = this.#bound.displaced[form];
    if (launches === undefined) throw new Error(`${this.program.name} has no such displaced step`);
    return launches;
  }

  enqueue(stage: Stage, stream: Stream, form: StepForm = 'synchronous'): void {
    for (const launch of this.launches(stage, form)) launch.enqueue(stream);
  }

  /** Ends a displaced step: later work comes after everything that it has sent ahead. */
  join(stream: Stream): void {
    this.#options.ahead?.join(stream);
  }

  /** Captures what `enqueue` puts on the stream. The caller closes the graph. */
  capture(enqueue: (stream: Stream) => void): ExecutableGraph {
    const { stream } = this.#options.session;
    // What libraries clear call by call is cleared once, at the start.
    const graph = stream.capture(() => {
      this.#cleared.clear(stream);
      enqueue(stream);
    });
    try {
      this.#cleared.removeMemsets(graph);
      return graph.instantiate();
    } finally {
      graph.close();
    }
  }

  /** Copies an input and brings it into the device's layout. The data are copied before this returns. */
  write(name: string, data: Float32Array | BigInt64Array, stream: Stream): void {
    const port = this.#inputs.get(name);
    if (port === undefined) throw new Error(`${this.program.name} has no input ${name}`);
    if (data.byteLength !== port.bytes) throw new Error(`${name} has ${String(data.byteLength)} bytes, expected ${String(port.bytes)}`);
    port.host.bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const target = port.device?.pointer ?? this.addresses.of(port.value.view);
    stream.copyToDevice(target, port.host.address, port.bytes);
    const launch = this.#ports?.imports.get(name);
    if (launch !== undefined) enqueueKernel(launch, stream);
  }

  /** Enqueues an output's way to the host; {@link read} returns it once the stream is done. */
  fetch(name: string, stream: Stream): void {
    const port = this.#outputs.get(name);
    const launch = this.#ports?.exports.get(name);
    if (port?.device === undefined || launch === undefined) throw new Error(`${this.program.name} has no output ${name}`);
    enqueueKernel(launch, stream);
    stream.copyToHost(port.host.address, port.device.pointer, port.bytes);
  }

  /** A copy of the fetched output. */
  read(name: string): Float32Array {
    const port = this.#outputs.get(name);
    if (port === undefined) throw new Error(`${this.program.name} has no output ${name}`);
    return new Float32Array(port.host.bytes.buffer.slice(port.host.bytes.byteOffset, port.host.bytes.byteOffset + port.bytes));
  }

  /** Buffers that operations of `from` write and operations of `to` read. */
  crossing(from: Stage, to: Stage): readonly { readonly buffer: number; readonly spec: BufferSpec }[] {
    const { operations, buffers } = this.program;
    const written = new Set(operations[from].flatMap((operation) => [...buffersOf(operation)]));
    const read = new Set(operations[to].flatMap((operation) => [...buffersOf(operation)]));
    return [...written]
      .filter((buffer) => read.has(buffer))
      .flatMap((buffer) => {
        const spec = buffers[buffer];
        return spec?.role === 'operation' ? [{ buffer, spec }] : [];
      });
  }

  close(): void {
    const ports = [...this.#inputs.values(), ...this.#outputs.values()];
    const staging = ports.flatMap(({ host, device }) => (device === undefined ? [host] : [host, device]));
    closeAll([this.#persistent, this.#halves, this.#cleared, ...this.#inputMemory.values(), ...staging]);
  }

  #addressOf(buffer: number, half: 0 | 1): bigint {
    const { program, weights } = this.#options;
    const spec = program.buffers[buffer];
    if (spec === undefined) throw new Error(`${program.name} has no buffer ${String(buffer)}`);
    if (spec.role === 'weight') return weights.pointer(spec);
    const input = this.#inputMemory.get(buffer);
    if (input !== undefined) return input.pointer;
    const place = program.memory.places.get(buffer);
    if (place === undefined) throw new Error(`buffer ${String(buffer)} of ${program.name} has no place`);
    const offset = BigInt(place.offset);
    if (place.block === 'halved') return this.#halves.pointer + BigInt(half * program.memory.halfBytes) + offset;
    return (place.block === 'arena' ? this.#arena : this.#persistent.pointer) + offset;
  }
}
