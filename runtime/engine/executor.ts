/**
 * What the pipeline sees of an engine: backends that turn graphs into executors, executors that run them.
 *
 * The life of an engine: `Backend.prepare` lowers a sharded graph and publishes the result in the engine cache (or finds it
 * there); `Backend.load` makes it ready to run on this rank; `Executor.run` runs it with named host tensors.
 */
import type { Displacement, Graph } from '../graph/index.js';
import type { Tensor } from '../tensor/index.js';
import type { WeightsDirectory } from '../weights/index.js';
import type { Plan } from './partition.js';

/** One component of a model, ready to be lowered. */
export interface Component {
  /** Sharded for this rank's mesh, verified. */
  readonly graph: Graph;
  readonly weights: WeightsDirectory;
  /** Ranks of this rank's patch group, in order of their bands; `[0]` alone. */
  readonly patchGroup: readonly number[];
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
  /** Frees sessions and weights. Idempotent. */
  close(): Promise<void>;
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
