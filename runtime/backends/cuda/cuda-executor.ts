/** Runs one component on the device: a program for each set of sizes it is asked for, the weights shared by all. */
import {
  bindSymbols,
  type Component,
  type DenoiseResult,
  type DenoiseTask,
  type DisplacedRuns,
  type Executor,
  type Plan,
  type RunResult,
} from '../../engine/index.js';
import { SdxlError } from '../../errors/index.js';
import type { Displacement, SymbolValues } from '../../graph/index.js';
import { float32, type Tensor } from '../../tensor/index.js';
import type { AheadExchanges } from './execution/ahead.js';
import type { DeviceCollectives } from './execution/collectives.js';
import { Denoiser } from './execution/denoiser.js';
import { DeviceProgram } from './execution/device-program.js';
import type { HalfType, KernelSet } from './execution/kernels.js';
import type { Session } from './execution/session.js';
import type { Tactics } from './execution/tactics.js';
import type { WeightStore } from './execution/weight-store.js';
import type { Launch } from './execution/launch.js';
import { closeAll, type Stream } from './libraries/index.js';
import type { Operation } from './plan/operations.js';
import { describeOperation } from './plan/print.js';
import { planProgram } from './plan/planner.js';
import { displacedForms, type StepForm } from './plan/program.js';

export interface CudaExecutorOptions {
  readonly session: Session;
  readonly component: Component;
  readonly plan: Plan;
  readonly kernels: KernelSet;
  readonly half: HalfType;
  readonly weights: WeightStore;
  readonly tactics: Tactics;
  readonly collectives: DeviceCollectives | undefined;
  /** This rank's place in its patch group. */
  readonly position: number;
  /** What displaced steps send with. Every rank asks at the same time, the first time it needs it. */
  readonly openAhead: (signal: AbortSignal | undefined) => Promise<AheadExchanges>;
}

/** Equal operations of a step, timed together by themselves. */
export interface ProfiledLaunch {
  readonly kind: Operation['kind'];
  /** Shape and tactic. */
  readonly label: string;
  readonly operations: readonly Operation[];
  /** Of all of them. */
  readonly milliseconds: number;
}

interface Sized {
  readonly program: DeviceProgram;
  denoiser: Denoiser | undefined;
}

/** Programs kept for sizes seen before: a job uses one or two. */
const keptSizes = 4;

export class CudaExecutor implements Executor {
  readonly plan: Plan;
  readonly #options: CudaExecutorOptions;
  readonly #sized = new Map<string, Sized>();
  #closed = false;

  constructor(options: CudaExecutorOptions) {
    this.plan = options.plan;
    this.#options = options;
  }

  /** Makes the program for these sizes, so that the first run does not have to. */
  async warm(symbols: SymbolValues, signal?: AbortSignal): Promise<void> {
    const { program } = await this.#programFor(symbols, signal);
    await program.bind();
  }

  async run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): Promise<RunResult> {
    return this.#run(await this.#programOf(inputs, signal), 'synchronous', inputs, signal);
  }

  async #programOf(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal, displacement?: Displacement): Promise<Sized> {
    signal?.throwIfAborted();
    const { graph } = this.#options.component;
    const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
    return this.#programFor(bindSymbols(graph, shapes), signal, displacement);
  }

  async #run(sized: Sized, form: StepForm, inputs: Readonly<Record<string, Tensor>>, signal: AbortSignal | undefined): Promise<RunResult> {
    const started = performance.now();
    const { session, component } = this.#options;
    const { stream, device } = session;
    await this.#bind(sized);
    const { program } = sized;
    for (const { name } of component.graph.inputs) program.write(name, hostData(name, inputs[name]), stream);
    for (const stage of ['prompt', 'timestep', 'step'] as const) program.enqueue(stage, stream, form);
    if (form !== 'synchronous') program.join(stream);
    for (const { name } of component.graph.outputs) program.fetch(name, stream);
    using done = device.createEvent();
    done.record(stream);
    await done.done({ signal });
    const outputs = Object.fromEntries(program.program.outputs.map(({ name, shape }) => [name, float32(shape, program.read(name))]));
    const totalSeconds = (performance.now() - started) / 1000;
    const exchanges = exchangesOf(this.plan);
    return { outputs, timing: { totalSeconds, computeSeconds: totalSeconds, exchangeSeconds: 0, exchanges, sentBytes: 0 } };
  }

  async denoise(task: DenoiseTask, signal?: AbortSignal): Promise<DenoiseResult> {
    signal?.throwIfAborted();
    const { session, component, kernels } = this.#options;
    const sized = await this.#programFor(denoiseSymbols(component, task), signal, task.displacement);
    await this.#bind(sized);
    if (sized.denoiser?.fits(task) !== true) {
      sized.denoiser?.close();
      sized.denoiser = new Denoiser(session, kernels, sized.program, task);
    }
    const { latents, badStep } = await sized.denoiser.run(task, signal);
    return { latents: float32(task.latents.shape, latents), badStep };
  }

  /** What the device holds. */
  describe(): { readonly memory: { readonly usedBytes: number; readonly weightBytes: number } } {
    const { freeBytes, totalBytes } = this.#options.session.device.memory();
    return { memory: { usedBytes: totalBytes - freeBytes, weightBytes: this.#options.weights.sizeBytes } };
  }

  /** Nodes of a step's graph by kind. */
  async countNodes(symbols: SymbolValues, signal?: AbortSignal): Promise<Readonly<Record<string, number>>> {
    const sized = await this.#programFor(symbols, signal);
    await this.#bind(sized);
    const { stream } = this.#options.session;
    using graph = stream.capture(() => {
      sized.program.enqueue('step', stream);
    });
    return graph.countNodes();
  }

  /** Times each group of equal operations of a step: all of a group in one graph, in their own buffers. */
  async profile(symbols: SymbolValues, signal?: AbortSignal): Promise<readonly ProfiledLaunch[]> {
    const sized = await this.#programFor(symbols, signal);
    await this.#bind(sized);
    const groups = new Map<string, Launch[]>();
    for (const launch of sized.program.launches('step')) {
      const key = `${launch.operation.kind} ${describeOperation(launch.operation)}, ${launch.label}`;
      groups.set(key, [...(groups.get(key) ?? []), launch]);
    }
    const { tuner } = this.#options.session;
    return [...groups].flatMap(([label, launches]) => {
      const kind = launches[0]?.operation.kind;
      if (kind === undefined || kind === 'collective') return [];
      const run = (stream: Stream): void => {
        for (const launch of launches) launch.enqueue(stream);
      };
      const milliseconds = tuner.time(run, { launches: Math.max(1, Math.ceil(20 / launches.length)), repeats: 7 }) / 1000;
      return [{ kind, label, operations: launches.map(({ operation }) => operation), milliseconds }];
    });
  }

  /**
   * Milliseconds that the operations of a step of some kinds take, one after the other in the step's order, in a graph that is replayed
   * in turns with the whole step: at the clocks of sustained load, with weights as cold as in the loop, on numbers like a step's own. By
   * itself such a graph would soon compute with infinities, for which the device needs less power, hence less time.
   * `libraryParts`: only what libraries could do of each operation.
   */
  async timeKinds(
    symbols: SymbolValues,
    kinds: ReadonlySet<Operation['kind']>,
    replays: number,
    { libraryParts = false, signal }: { readonly libraryParts?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<readonly number[]> {
    const sized = await this.#programFor(symbols, signal);
    await this.#bind(sized);
    const { stream, device } = this.#options.session;
    const { program } = sized;
    const launches = program.launches('step').filter(({ operation }) => kinds.has(operation.kind));
    using step = program.capture((on) => program.enqueue('step', on));
    using graph = program.capture((on) => {
      for (const { enqueue, libraryPart } of launches) (libraryParts ? (libraryPart ?? enqueue) : enqueue)(on);
    });
    using began = device.createEvent({ timing: true });
    using ended = device.createEvent({ timing: true });
    const milliseconds: number[] = [];
    for (let replay = 0; replay < replays; replay++) {
      step.launch(stream);
      began.record(stream);
      graph.launch(stream);
      ended.record(stream);
      await ended.done({ signal });
      milliseconds.push(ended.elapsedMs(began));
    }
    return milliseconds;
  }

  displace(displacement: Displacement): DisplacedRuns {
    const { name } = this.plan.graph;
    let first: Sized | undefined;
    let turn = 0;
    return {
      run: async (inputs, kind, signal) => {
        const sized = await this.#programOf(inputs, signal, displacement);
        if (first === undefined && kind !== 'fresh') throw new Error(`the first run of an image at ${name} must be fresh`);
        if (first !== undefined && sized !== first) throw new Error(`${name} runs at another size than before in this image`);
        first = sized;
        if (kind === 'fresh') turn = 0;
        const forms = displacedForms(sized.program.program);
        const form = kind === 'fresh' ? 'synchronous' : forms[turn++ % forms.length];
        // What the last run sends nobody uses: no harm, and no graph of its own.
        return this.#run(sized, form ?? 'synchronous', inputs, signal);
      },
      // Every run waits for what it has sent.
      end: () => Promise.resolve(),
    };
  }

  /** Those that may wait for a peer; they are captured anew where a step is run again. */
  dropGraphs(): void {
    for (const { denoiser } of this.#sized.values()) denoiser?.reset();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const all = [...this.#sized.values()];
    this.#sized.clear();
    closeAll([...all.map((sized) => ({ close: () => release(sized) })), this.#options.weights, this.#options.tactics]);
  }

  async #bind(sized: Sized): Promise<void> {
    if (await sized.program.bind()) sized.denoiser?.reset();
  }

  async #programFor(symbols: SymbolValues, signal: AbortSignal | undefined, displacement?: Displacement): Promise<Sized> {
    const key = JSON.stringify([Object.entries(symbols).sort(), displacement]);
    const known = this.#sized.get(key);
    if (known !== undefined) {
      // Most recently used last.
      this.#sized.delete(key);
      this.#sized.set(key, known);
      return known;
    }
    const { session, component, weights, tactics, kernels, half, collectives, position, openAhead } = this.#options;
    const displaced = displacement === undefined ? undefined : { displacement, position };
    const program = planProgram({ graph: component.graph, symbols, inputStages: component.inputRates, displaced });
    await weights.load(program.buffers, signal);
    const ahead = displaced === undefined ? undefined : await openAhead(signal);
    const sized: Sized = {
      program: new DeviceProgram({ session, program, weights, tactics, kernels, half, collectives, ahead }),
      denoiser: undefined,
    };
    this.#sized.set(key, sized);
    const [oldest] = this.#sized;
    if (this.#sized.size > keptSizes && oldest !== undefined) {
      this.#sized.delete(oldest[0]);
      release(oldest[1]);
    }
    return sized;
  }
}

function release({ program, denoiser }: Sized): void {
  closeAll(denoiser === undefined ? [program] : [denoiser, program]);
}

/** Sizes of a step from what is whole on every rank. */
function denoiseSymbols({ graph }: Component, { latents, constants, place }: DenoiseTask): SymbolValues {
  const [, channels = 1, height = 1, width = 1] = latents.shape;
  const batch = constants['encoder_hidden_states']?.shape[0] ?? 1;
  const rows = height / place.patch;
  const shapes: Record<string, readonly number[]> = {
    sample: [batch, channels, rows, width],
    'sample.halo': [batch, channels, 2, width],
    edge_mask: [1, 1, 2, 1],
    timestep: [1],
  };
  for (const [name, { shape }] of Object.entries(constants)) shapes[name] = shape;
  return bindSymbols(graph, Object.fromEntries(graph.inputs.map(({ name }) => [name, shapes[name] ?? []])));
}

function hostData(name: string, tensor: Tensor | undefined): Float32Array | BigInt64Array {
  const data = tensor?.data;
  if (data instanceof Float32Array || data instanceof BigInt64Array) return data;
  throw new SdxlError('INTERNAL', `input ${name} is neither f32 nor i64`);
}

function exchangesOf(plan: Plan): number {
  return plan.steps.filter(({ kind }) => kind === 'exchange').length;
}
