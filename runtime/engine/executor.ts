/**
 * What the pipeline sees of an engine: backends that turn graphs into executors, executors that run them.
 *
 * The life of an engine: `Backend.prepare` lowers a sharded graph and publishes the result in the engine cache (or finds it
 * there); `Backend.load` makes it ready to run on this rank; `Executor.run` runs it with named host tensors.
 */
import type { Displacement, Graph, SymbolValues } from '../graph/index.js';
import type { Tensor } from '../tensor/index.js';
import type { WeightsDirectory } from '../weights/index.js';
import type { Plan } from './partition.js';

/** From when on an input's value is known: once for a prompt, once for each timestep of a schedule, or in each step only. */
export type InputRate = 'prompt' | 'timestep' | 'step';

/** One component of a model, ready to be lowered. */
export interface Component {
  /** Sharded for this rank's mesh, verified. */
  readonly graph: Graph;
  readonly weights: WeightsDirectory;
  /** Ranks of this rank's patch group, in order of their bands; `[0]` alone. */
  readonly patchGroup: readonly number[];
  /** Inputs that change less often than the component runs; a backend may compute ahead what depends on these alone. */
  readonly inputRates: Readonly<Record<string, InputRate>>;
  /** Whether fp16 has too little range for this component's activations. */
  readonly needsRange: boolean;
  /** Sizes it will be run at first: a backend that tunes tunes for these. Others work too. */
  readonly sizes: SymbolValues | undefined;
}

/** A published engine: an immutable folder of the cache. */
export interface Engine {
  readonly component: Component;
  readonly plan: Plan;
  readonly directory: string;
  readonly key: string;
  /** Whether it was found rather than built. */
  readonly cached: boolean;
  readonly buildSeconds: number;
}

/** Time of one run: inside the backend, and waiting in exchanges. What overlaps with computing is not waited for. */
export interface RunTiming {
  readonly totalSeconds: number;
  readonly computeSeconds: number;
  readonly exchangeSeconds: number;
  /** Exchanges this rank sent. */
  readonly exchanges: number;
  /** Bytes this rank sent. */
  readonly sentBytes: number;
}

export interface RunResult {
  /** By output name; the caller owns the data. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly timing: RunTiming;
}

/**
 * - `fresh`: every exchange is waited for.
 * - `displaced`: exchanges are as the displacement says.
 * - `last`: as `displaced`, and nothing is sent for a run that will not come.
 */
export type RunKind = 'fresh' | 'displaced' | 'last';

/**
 * The runs of one image in their order, and what they leave to each other: what the peers sent last, and what is under way. Every
 * rank makes the same runs in the same order.
 */
export interface DisplacedRuns {
  /** As {@link Executor.run}; a first run must be `fresh`. Also rejects when an exchange that an earlier run left under way fails. */
  run(inputs: Readonly<Record<string, Tensor>>, kind: RunKind, signal?: AbortSignal): Promise<RunResult>;
  /**
   * Waits for what is under way, in the order it was sent, so that the next image starts with nothing outstanding; after a `last`
   * run there is nothing. Rejects as `run` does. Idempotent.
   */
  end(): Promise<void>;
}

export interface Executor {
  readonly plan: Plan;
  /**
   * Runs once. Inputs by the graph's names; shapes bind its symbols (SIZE_INVALID where they don't fit). Rejects with the
   * communicator's error when a peer fails, with ENGINE_RUN_FAILED when the backend does, and with the signal's reason.
   * Every exchange is fresh. Runs of one executor do not overlap.
   */
  run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): Promise<RunResult>;
  /**
   * Opens the state of one image whose later runs are displaced; one at a time. What it holds follows from the sizes of its first
   * run, which all others share.
   */
  displace(displacement: Displacement): DisplacedRuns;
  /** Present where the backend can keep the whole denoising loop on its device. Does not overlap with runs. */
  readonly denoise?: (task: DenoiseTask, signal?: AbortSignal) => Promise<DenoiseResult>;
  /** Frees sessions and weights. Idempotent. */
  close(): Promise<void>;
}

/** The loop of pipeline/denoise.ts as data. */
export interface DenoiseTask {
  /** `[1, c, h, w]` at the first noise level; whole, on every rank. */
  readonly latents: Tensor<'f32'>;
  /** The graph's inputs that stay the same over all steps. */
  readonly constants: Readonly<Record<string, Tensor<'f32'>>>;
  /** [steps] */
  readonly timesteps: Float32Array;
  /** [steps × 15]: of each step the coefficients of `LinearStep`, in the order in which they are declared. */
  readonly coefficients: Float32Array;
  /** [steps] noise to add, shaped as the latents; undefined where a step adds none. */
  readonly noises: readonly (Float32Array | undefined)[];
  /** Undefined: no guidance, one branch. */
  readonly guidanceScale: number | undefined;
  /** How steps are displaced after the first `freshSteps`, at least one; undefined: all are synchronous. */
  readonly displacement: Displacement | undefined;
  readonly freshSteps: number;
  /** Where this rank stands: guidance branches × bands of rows. */
  readonly place: { readonly cfg: number; readonly patch: number; readonly patchIndex: number };
  /** Told of each step as it ends; `seconds` on the device. */
  readonly onStep: (index: number, seconds: number) => void;
}

export interface DenoiseResult {
  readonly latents: Tensor<'f32'>;
  /** The first step in which the prediction was not finite. */
  readonly badStep: number | undefined;
}

export interface Backend {
  readonly name: string;
  /** Element type the backend computes in. */
  readonly dtype: string;
  /** Lowers the component, or finds it in the cache. ENGINE_BUILD_FAILED, WEIGHTS_INVALID, ENGINE_CACHE_UNWRITABLE. */
  prepare(component: Component, signal?: AbortSignal): Promise<Engine>;
  /** Makes an engine ready to run. ENGINE_BUILD_FAILED naming the segment. */
  load(engine: Engine, signal?: AbortSignal): Promise<Executor>;
  /** Ends workers and frees what is loaded. Idempotent. */
  close(): Promise<void>;
}
