/**
 * The denoising loop on the device. One graph holds a whole step: scaling the latents, the UNet, guidance and the sampler's step.
 * What changes from step to step (coefficients, time embeddings) lies in tables that the graph reads at a step counter, so the same
 * graph is launched for every step of every image, and the host only follows. Displaced steps have a graph for each half of the memory
 * that they leave to each other.
 */
import type { DenoiseTask } from '../../../engine/index.js';
import {
  closeAll,
  KernelArguments,
  type DeviceMemory,
  type Event,
  type ExecutableGraph,
  type KernelArgument,
  type Stream,
} from '../libraries/index.js';
import { displacedForms, type StepForm } from '../plan/program.js';
import { elementBytes, type View } from '../plan/view.js';
import type { DeviceProgram } from './device-program.js';
import type { KernelSet } from './kernels.js';
import { enqueueKernel, type KernelLaunch } from './launch.js';
import type { Session } from './session.js';

/** Floats of a step's row: the guidance scale, then the coefficients of `LinearStep` in order; see kernels/denoise.cu. */
const coefficients = 15;
const rowFloats = 1 + coefficients;
/** No step was bad. */
const noBadStep = 0x7fffffff;
/** Steps enqueued ahead of the one that runs: the device never waits for the host. */
const stepsAhead = 3;

/** What a captured graph was made for: anything else needs another. */
interface Shape {
  readonly elements: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly guided: boolean;
  readonly noisy: boolean;
  readonly capacity: number;
  readonly place: DenoiseTask['place'];
}

interface Crossing {
  readonly target: bigint;
  readonly bytes: number;
  /** [steps] rows of `bytes`. */
  readonly table: DeviceMemory;
}

export class Denoiser {
  readonly #session: Session;
  readonly #kernels: KernelSet;
  readonly #program: DeviceProgram;
  readonly #shape: Shape;
  readonly #memory: DeviceMemory[] = [];
  readonly #crossings: readonly Crossing[];
  readonly #latents: bigint;
  readonly #histories: { readonly pointer: bigint; readonly bytes: number };
  readonly #steps: bigint;
  readonly #timesteps: bigint;
  readonly #random: bigint;
  readonly #counter: bigint;
  readonly #badStep: bigint;
  readonly #arguments: KernelArguments[] = [];
  readonly #events: readonly Event[];
  readonly #graphs = new Map<StepForm, ExecutableGraph>();

  constructor(session: Session, kernels: KernelSet, program: DeviceProgram, task: DenoiseTask) {
    this.#session = session;
    this.#kernels = kernels;
    this.#program = program;
    this.#shape = shapeOf(task);
    const { elements, capacity, noisy } = this.#shape;
    const allocate = (bytes: number, purpose: string): bigint => {
      const memory = session.device.allocate(bytes, purpose);
      this.#memory.push(memory);
      return memory.pointer;
    };
    this.#latents = allocate(elements * 4, 'latents');
    this.#histories = { pointer: allocate(elements * 4 * 4, "the sampler's history"), bytes: elements * 4 * 4 };
    this.#steps = allocate(capacity * rowFloats * 4, 'the schedule');
    this.#timesteps = allocate(capacity * 4, 'timesteps');
    this.#random = noisy ? allocate(capacity * elements * 4, "the sampler's noise") : 0n;
    this.#counter = allocate(8, 'the step counter');
    this.#badStep = this.#counter + 4n;
    this.#crossings = program.crossing('timestep', 'step').map(({ buffer, spec }) => {
      const bytes = spec.elements * elementBytes[spec.type];
      const table = session.device.allocate(capacity * bytes, 'time embeddings');
      this.#memory.push(table);
      return { target: program.addresses.buffer(buffer), bytes, table };
    });
    this.#events = Array.from({ length: stepsAhead + 2 }, () => session.device.createEvent({ timing: true }));
  }

  /** Whether a task can be run with this graph and these tables. */
  fits(task: DenoiseTask): boolean {
    const { capacity, ...own } = this.#shape;
    const { capacity: needed, ...wanted } = shapeOf(task);
    return needed <= capacity && JSON.stringify(own) === JSON.stringify(wanted);
  }

  /** The program has moved in memory: its graphs are captured anew. */
  reset(): void {
    const graphs = [...this.#graphs.values()];
    this.#graphs.clear();
    closeAll(graphs);
  }

  /** The latents after the last step, and the first step that was not finite. */
  async run(
    task: DenoiseTask,
    signal: AbortSignal | undefined,
  ): Promise<{ latents: Float32Array<ArrayBuffer>; badStep: number | undefined }> {
    const { stream, device } = this.#session;
    const program = this.#program;
    const steps = task.timesteps.length;
    for (const [name, tensor] of Object.entries(task.constants)) program.write(name, tensor.data, stream);
    // Zeros where rows lie beyond the image's edges.
    const { patch, patchIndex } = task.place;
    if (patch > 1) program.write('edge_mask', Float32Array.of(patchIndex === 0 ? 0 : 1, patchIndex === patch - 1 ? 0 : 1), stream);
    this.#upload(task, stream);
    program.enqueue('prompt', stream);
    this.#embedTimesteps(task.timesteps.length, stream);
    const forms = stepForms(steps, task.freshSteps, displacedForms(program.program));
    const graphs = forms.map((form) => this.#graphOf(form, task));
    const [before, ...ends] = this.#events;
    if (before === undefined) throw new Error('no events');
    before.record(stream);
    let previous = before;
    // One more than are under way: a step's time counts from the event of the step before.
    const eventOf = (index: number): Event => ends[index % ends.length] ?? before;
    for (let index = 0; index < steps + stepsAhead - 1; index++) {
      if (index < steps) {
        graphs[index]?.launch(stream);
        eventOf(index).record(stream);
      }
      const finished = index - (stepsAhead - 1);
      if (finished < 0 || finished >= steps) continue;
      const event = eventOf(finished);
      await event.done({ signal });
      task.onStep(finished, event.elapsedMs(previous) / 1000);
      previous = event;
    }
    const latents = new Float32Array(this.#shape.elements);
    device.copyToHost(latents, this.#latents);
    const bad = new Int32Array(1);
    device.copyToHost(bad, this.#badStep);
    return { latents, badStep: bad[0] === noBadStep ? undefined : bad[0] };
  }

  close(): void {
    closeAll([{ close: () => this.reset() }, ...this.#events, ...this.#memory.splice(0), ...this.#arguments.splice(0)]);
  }

  #upload(task: DenoiseTask, stream: Stream): void {
    const { device } = this.#session;
    const steps = task.timesteps.length;
    const rows = new Float32Array(steps * rowFloats);
    for (let step = 0; step < steps; step++) {
      rows[step * rowFloats] = task.guidanceScale ?? 1;
      rows.set(task.coefficients.subarray(step * coefficients, (step + 1) * coefficients), step * rowFloats + 1);
    }
    // These copies are small, and done when they return: nothing of an earlier image still runs.
    device.copyToDevice(this.#latents, task.latents.data);
    device.copyToDevice(this.#steps, rows);
    device.copyToDevice(this.#timesteps, task.timesteps);
    device.copyToDevice(this.#counter, Int32Array.of(0, noBadStep));
    const { elements, noisy } = this.#shape;
    // Steps without noise multiply what lies in the table by zero: it must be a number.
    const none = new Float32Array(noisy ? elements : 0);
    task.noises.forEach((noise = none, step) => {
      if (noisy) device.copyToDevice(this.#random + BigInt(step * elements * 4), noise);
    });
    stream.fill(this.#histories.pointer, 0, this.#histories.bytes);
  }

  /** Time embeddings of every step, into the tables. */
  #embedTimesteps(steps: number, stream: Stream): void {
    const input = this.#program.program.inputs.find(({ name }) => name === 'timestep');
    if (input === undefined) throw new Error(`${this.#program.program.name} has no timestep`);
    const target = this.#program.addresses.of(input.view);
    for (let step = 0; step < steps; step++) {
      stream.copy(target, this.#timesteps + BigInt(step * 4), 4);
      this.#program.enqueue('timestep', stream);
      for (const { target: source, bytes, table } of this.#crossings) {
        stream.copy(table.pointer + BigInt(step * bytes), source, bytes);
      }
    }
  }

  #graphOf(form: StepForm, task: DenoiseTask): ExecutableGraph {
    const known = this.#graphs.get(form);
    if (known !== undefined) return known;
    const graph = this.#capture(form, task);
    this.#graphs.set(form, graph);
    return graph;
  }

  #capture(form: StepForm, task: DenoiseTask): ExecutableGraph {
    const launches = [...this.#before(task), 'network' as const, ...this.#after(task)];
    return this.#program.capture((stream) => {
      for (const launch of launches) {
        if (launch === 'network') this.#program.enqueue('step', stream, form);
        else enqueueKernel(launch, stream);
      }
      if (form !== 'synchronous') this.#program.join(stream);
    });
  }

  #before(task: DenoiseTask): readonly KernelLaunch[] {
    const select = this.#crossings.map(({ target, bytes, table }): KernelLaunch => {
      const count = bytes / 2;
      const values = this.#keep([{ pointer: table.pointer }, { pointer: this.#counter }, { i64: count }, { pointer: target }]);
      return { kernel: this.#kernels.selectStep, grid: [Math.ceil(count / 8 / 256)], block: [256], sharedBytes: 0, values };
    });
    const { patch, patchIndex } = task.place;
    const rows = this.#shape.height / patch;
    const first = patchIndex * rows;
    const scaled = [this.#scale('sample', first, 1)];
    if (patch > 1) scaled.push(this.#scale('sample.halo', first - 1, rows + 1));
    return [...select, ...scaled];
  }

  #scale(name: string, firstRow: number, rowStep: number): KernelLaunch {
    const { channels, height, width } = this.#shape;
    const view = this.#viewOf(name);
    const [branches = 1, padded = 8, rows = 1] = view.shape;
    const values = this.#keep([
      { pointer: this.#latents },
      { pointer: this.#steps },
      { pointer: this.#counter },
      { i32: channels },
      { i32: height },
      { i32: width },
      { i32: branches },
      { i32: firstRow },
      { i32: rowStep },
      { pointer: this.#program.addresses.of(view) },
      ...strides(view, [0, 2, 3]),
    ]);
    return { kernel: this.#kernels.scaleInput, grid: [width, rows], block: [padded], sharedBytes: 0, values };
  }

  #after(task: DenoiseTask): readonly KernelLaunch[] {
    const { elements, channels, height, width, guided } = this.#shape;
    const { cfg, patch } = task.place;
    const output = this.#program.program.outputs.find(({ name }) => name === 'out_sample');
    if (output === undefined) throw new Error(`${this.#program.program.name} has no out_sample`);
    const { view } = output;
    // Gathered: [world, b, c, h, w], branch by branch; else [b, c, h, w].
    const gathered = view.shape.length === 5;
    const [rank, batch, row, column] = gathered ? [0, 1, 3, 4] : [undefined, 0, 2, 3];
    const stride = (axis: number | undefined): KernelArgument => ({ i64: axis === undefined ? 0 : (view.strides[axis] ?? 0) });
    const history = (index: number): KernelArgument => ({ pointer: this.#histories.pointer + BigInt(index * elements * 4) });
    const values = this.#keep([
      { pointer: this.#program.addresses.of(view) },
      stride(rank),
      { i32: cfg === 2 ? patch : 0 },
      cfg === 2 ? { i64: 0 } : stride(batch),
      stride(row),
      stride(column),
      { i32: height / patch },
      { i32: guided ? 1 : 0 },
      { pointer: this.#steps },
      { pointer: this.#counter },
      { pointer: this.#random },
      { i32: channels },
      { i32: height },
      { i32: width },
      { pointer: this.#latents },
      ...[0, 1, 2, 3].map(history),
      { pointer: this.#badStep },
    ]);
    const step: KernelLaunch = {
      kernel: this.#kernels.linearStep,
      grid: [Math.ceil(elements / 256)],
      block: [256],
      sharedBytes: 0,
      values,
    };
    const counter = this.#keep([{ pointer: this.#counter }]);
    return [step, { kernel: this.#kernels.advance, grid: [1], block: [1], sharedBytes: 0, values: counter }];
  }

  #viewOf(name: string): View {
    const input = this.#program.program.inputs.find((candidate) => candidate.name === name);
    if (input === undefined) throw new Error(`${this.#program.program.name} has no input ${name}`);
    return input.view;
  }

  #keep(values: readonly KernelArgument[]): KernelArguments {
    const kept = new KernelArguments(values);
    this.#arguments.push(kept);
    return kept;
  }
}

/** Of every step: synchronous ones first, then the displaced ones in turns. */
function stepForms(steps: number, freshSteps: number, displaced: readonly (0 | 1)[]): readonly StepForm[] {
  return Array.from({ length: steps }, (_, index) => {
    const turn = displaced.length === 0 ? undefined : displaced[(index - freshSteps) % displaced.length];
    return index < freshSteps ? 'synchronous' : (turn ?? 'synchronous');
  });
}

function strides(view: View, axes: readonly number[]): KernelArgument[] {
  return axes.map((axis) => ({ i64: view.strides[axis] ?? 0 }));
}

function shapeOf(task: DenoiseTask): Shape {
  const [, channels = 1, height = 1, width = 1] = task.latents.shape;
  return {
    elements: channels * height * width,
    channels,
    height,
    width,
    guided: task.guidanceScale !== undefined,
    noisy: task.noises.some((noise) => noise !== undefined),
    // Tables have room for the usual numbers of steps, so that another number does not make another graph.
    capacity: Math.max(64, task.timesteps.length),
    place: task.place,
  };
}
