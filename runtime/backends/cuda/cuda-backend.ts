/** The CUDA backend: plans, tunes and runs components on one NVIDIA device for each rank. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Communicator, Message } from '../../collectives/communicator.js';
import { digest, EngineCache, engineKey, partition, type Backend, type Component, type Engine, type Executor } from '../../engine/index.js';
import { printGraph } from '../../graph/index.js';
import { packageVersion } from '../../package-root.js';
import { CudaExecutor } from './cuda-executor.js';
import { aheadBlocks, AheadExchanges } from './execution/ahead.js';
import { bindOperation } from './execution/bind.js';
import { NcclCollectives, type DeviceCollectives } from './execution/collectives.js';
import { kernelSources, type HalfType } from './execution/kernels.js';
import { Addresses, type Launch } from './execution/launch.js';
import { Session } from './execution/session.js';
import { Tactics } from './execution/tactics.js';
import { WeightStore } from './execution/weight-store.js';
import { closeAll, closeQuietly, Nccl, TimingCache, type NcclCommunicator } from './libraries/index.js';
import { stages } from './plan/operations.js';
import { planProgram } from './plan/planner.js';
import { printProgram } from './plan/print.js';

export interface CudaBackendOptions {
  readonly cacheDirectory: string;
  /** Number of this rank's device among those the process sees. */
  readonly device: number;
  /** Folders in which NVIDIA's libraries are looked for first. */
  readonly libraryPath: string | undefined;
  readonly communicator: Communicator;
  /** Candidates timed for each problem; 1 takes the libraries' first choices. */
  readonly tacticLimit: number;
  /** File of tactics timed before, here or on a machine with the same device and libraries; builds read it, and add what it lacks. */
  readonly timingCache?: string | undefined;
  readonly onDamage?: (reason: string) => void;
}

const tacticsFile = 'tactics.json';
const planFile = 'plan.txt';
/** Of the exchange that hands NCCL's id round. */
const identityTag = 0xffff0001;

export class CudaBackend implements Backend {
  readonly name = 'cuda';
  readonly dtype = 'f16';
  readonly #options: CudaBackendOptions;
  readonly #cache: EngineCache;
  #session: Promise<Session> | undefined;
  #nccl: Promise<{ readonly nccl: Nccl; readonly communicator: NcclCommunicator }> | undefined;
  #ahead: Promise<AheadExchanges> | undefined;
  /** What waits for peers on the device. */
  readonly #exchanging: { abort(): void; close(): void }[] = [];
  readonly #executors: CudaExecutor[] = [];

  constructor(options: CudaBackendOptions) {
    this.#options = options;
    this.#cache = new EngineCache(options.cacheDirectory);
  }

  async prepare(component: Component, signal?: AbortSignal): Promise<Engine> {
    signal?.throwIfAborted();
    const started = performance.now();
    const session = await this.#open();
    for (const { key, shape } of component.graph.weights) component.weights.require(key, shape);
    const plan = partition(component.graph);
    const fields = {
      backend: this.name,
      version: packageVersion,
      component: component.graph.name,
      half: halfOf(component),
      graph: digest(printGraph(component.graph)),
      kernels: digest(await kernelSources()),
      sizes: JSON.stringify(Object.entries(component.sizes ?? {}).sort()),
      tacticLimit: String(this.#options.tacticLimit),
      ...session.identity(),
    };
    const key = engineKey(fields);
    const found = await this.#cache.find(key, this.#options.onDamage ?? (() => undefined));
    if (found === undefined) await this.#cache.publish(key, fields, await this.#build(component, session, signal));
    await this.#shareTimings(key, session);
    const buildSeconds = (performance.now() - started) / 1000;
    return { component, plan, key, directory: this.#cache.directoryOf(key), cached: found !== undefined, buildSeconds };
  }

  async load(engine: Engine, signal?: AbortSignal): Promise<Executor> {
    signal?.throwIfAborted();
    const { component, plan } = engine;
    const session = await this.#open();
    const half = halfOf(component);
    const kernels = await session.kernels(half, signal);
    const timings = await TimingCache.open(
      join(engine.directory, tacticsFile),
      session.identity(),
      this.#options.onDamage ?? (() => undefined),
    );
    const { device, stream } = session;
    const executor = new CudaExecutor({
      session,
      component,
      plan,
      kernels,
      half,
      weights: new WeightStore({ device, stream, kernels, weights: component.weights }),
      tactics: this.#tactics(session, timings, 1),
      collectives: await this.#collectives(component, session, half, signal),
      position: component.patchGroup.indexOf(this.#options.communicator.rank),
      openAhead: (given) => this.#openAhead(component, session, given),
    });
    this.#executors.push(executor);
    if (component.sizes !== undefined) await executor.warm(component.sizes, signal);
    return executor;
  }

  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    this.#session = undefined;
    await Promise.allSettled([this.#nccl, this.#ahead]);
    const { failed } = this.#options.communicator;
    failed.removeEventListener('abort', this.#abortExchanges);
    if (failed.aborted) this.#abortExchanges();
    const executors = await Promise.allSettled(this.#executors.splice(0).map((executor) => executor.close()));
    let exchanging: { readonly reason: unknown } | undefined;
    try {
      closeAll(this.#exchanging.splice(0).reverse());
    } catch (reason) {
      exchanging = { reason };
    }
    await session?.close();
    const failure = executors.find((closed) => closed.status === 'rejected') ?? exchanging;
    if (failure !== undefined) throw failure.reason;
  }

  /**
   * Operations that wait for a lost peer never end by themselves, and freeing memory waits for them. Graphs go first: a communicator ends
   * once no graph refers to it.
   */
  readonly #abortExchanges = (): void => {
    closeQuietly(
      ...this.#executors.map((executor) => ({ close: () => executor.dropGraphs() })),
      ...this.#exchanging.toReversed().map((exchanges) => ({ close: () => exchanges.abort() })),
    );
  };

  #open(): Promise<Session> {
    const { device, cacheDirectory, libraryPath, onDamage } = this.#options;
    this.#session ??= Session.open({ device, cacheDirectory, libraryPath, onDamage: onDamage ?? (() => undefined) });
    return this.#session;
  }

  /** Compiles the kernels and times the tactics of everything that runs at the component's sizes. */
  async #build(component: Component, session: Session, signal: AbortSignal | undefined): Promise<ReadonlyMap<string, Uint8Array>> {
    const half = halfOf(component);
    const kernels = await session.kernels(half, signal);
    const { timingCache, onDamage } = this.#options;
    const identity = session.identity();
    const known = timingCache === undefined ? undefined : await TimingCache.open(timingCache, identity, onDamage ?? (() => undefined));
    const timings = new TimingCache(identity, [], known);
    const files = new Map<string, Uint8Array>();
    if (component.sizes !== undefined) {
      const program = planProgram({ graph: component.graph, symbols: component.sizes, inputStages: component.inputRates });
      const tactics = this.#tactics(session, timings, this.#options.tacticLimit);
      try {
        const launches: Launch[] = [];
        const context = {
          kernels,
          tactics,
          // Nothing is run: only problems are asked for.
          addresses: new Addresses(() => 0n),
          scratch: session.scratch,
          workspaceFor: () => session.workspace,
          half,
          limits: session.device.properties,
          programmatic: false,
          collectives: { enqueue: () => undefined },
        };
        for (const stage of stages) {
          for (const operation of program.operations[stage]) {
            signal?.throwIfAborted();
            launches.push(await bindOperation(operation, context));
          }
        }
        files.set(planFile, Buffer.from(printProgram(program, launches)));
      } finally {
        tactics.close();
      }
    }
    const staging = await mkdtemp(join(tmpdir(), 'sdxl-tactics-'));
    try {
      await timings.save(join(staging, tacticsFile));
      files.set(tacticsFile, await readFile(join(staging, tacticsFile)));
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
    return files;
  }

  /** What an engine was built with, for builds elsewhere. */
  async #shareTimings(key: string, session: Session): Promise<void> {
    const { timingCache, onDamage = () => undefined } = this.#options;
    if (timingCache === undefined) return;
    const timings = await TimingCache.open(join(this.#cache.directoryOf(key), tacticsFile), session.identity(), onDamage);
    await timings.addTo(timingCache, onDamage);
  }

  #tactics(session: Session, timings: TimingCache, limit: number): Tactics {
    const { device, stream, cublas, cudnn, tuner, workspace } = session;
    return new Tactics({ device, stream, cublas, cudnn, tuner, workspace, timings, limit });
  }

  async #collectives(
    component: Component,
    session: Session,
    half: HalfType,
    signal: AbortSignal | undefined,
  ): Promise<DeviceCollectives | undefined> {
    const { communicator } = this.#options;
    if (communicator.worldSize === 1) return undefined;
    this.#nccl ??= this.#join(session, signal);
    const { nccl, communicator: joined } = await this.#nccl;
    const world = Array.from({ length: communicator.worldSize }, (_, rank) => rank);
    return new NcclCollectives(nccl, joined, { rank: communicator.rank, patch: component.patchGroup, world }, half);
  }

  /** On every rank at about the same time, since splitting a communicator blocks the thread until all have come. */
  async #openAhead(component: Component, session: Session, signal: AbortSignal | undefined): Promise<AheadExchanges> {
    this.#ahead ??= (async () => {
      const joined = await this.#nccl;
      if (joined === undefined) throw new Error(`${component.graph.name} is displaced on a rank alone`);
      await this.#options.communicator.barrier(signal);
      const ahead = new AheadExchanges(session.device, joined.nccl, joined.communicator.split(aheadBlocks), component.patchGroup);
      this.#exchanging.push(ahead);
      return ahead;
    })();
    return this.#ahead;
  }

  /** Rank 0 makes NCCL's id; it travels over the gang's own connections. */
  async #join(
    session: Session,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly nccl: Nccl; readonly communicator: NcclCommunicator }> {
    const { communicator } = this.#options;
    const { rank, worldSize } = communicator;
    const nccl = await Nccl.open(session.search);
    const id = rank === 0 ? nccl.uniqueId() : new Uint8Array(128);
    const others = Array.from({ length: worldSize - 1 }, (_, index) => index + 1);
    const sends: Message[] = rank === 0 ? others.map((peer) => ({ peer, parts: [id] })) : [];
    const receives: Message[] = rank === 0 ? [] : [{ peer: 0, parts: [id] }];
    await communicator.exchange({ operation: 'nccl_id', tag: identityTag, sends, receives }, signal);
    // Ranks come here together, since joining blocks the thread.
    await communicator.barrier(signal);
    const joined = nccl.join(id, rank, worldSize);
    this.#exchanging.push(joined);
    communicator.failed.addEventListener('abort', this.#abortExchanges, { once: true });
    return { nccl, communicator: joined };
  }
}

function halfOf({ needsRange }: Component): HalfType {
  return needsRange ? 'bf16' : 'f16';
}
