/**
 * Times tactics on the device and picks the fastest. A tactic is timed as a graph of many launches, as the engine will run it:
 * launch overhead stays out of the figure.
 */
import { setImmediate } from 'node:timers/promises';
import { SdxlError, toSdxlError } from '../../../errors/index.js';
import { closeAll } from './close-all.js';
import type { Device } from './device.js';
import type { Event } from './event.js';
import type { ExecutableGraph } from './graph.js';
import type { DeviceMemory } from './memory.js';
import type { Stream } from './stream.js';

export interface Candidate<T> {
  readonly tactic: T;
  /** For messages and the plan printer. */
  readonly label: string;
  /** Enqueues one launch. `launch` counts up, so that operands may be rotated between buffers. */
  readonly run: (stream: Stream, launch: number) => void;
}

export interface TuneOptions {
  /** Launches in one timed graph; where not given 20, and fewer of what takes long. */
  readonly launches?: number;
  /** Timed runs of the graph of each finalist; 9 where not given. The median counts. */
  readonly repeats?: number;
  /** Whether the device's cache is swept before every launch, as the rest of a model does; the sweep is timed and taken off. */
  readonly coldCache?: boolean;
  /** Whether memsets are taken off a candidate's time, because the engine takes them out of its graph. */
  readonly freeMemsets?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface Ranked {
  readonly label: string;
  readonly microseconds: number;
}

export interface Tuned<T> {
  readonly tactic: T;
  readonly label: string;
  readonly microseconds: number;
  /** All that ran, fastest first. */
  readonly ranking: readonly Ranked[];
  /** Those that failed, with their message. */
  readonly refused: readonly { readonly label: string; readonly reason: string }[];
}

/** Timed once more, in turns, because a single round may be disturbed. */
const finalists = 4;
const firstRepeats = 3;
/** A timed graph of more launches than this takes shows no more. */
const graphMicroseconds = 6000;
const launchLimits = { least: 3, most: 20 } as const;
/** What takes so many times as long as the fastest so far, in a single launch, is not timed further; a launch itself takes some microseconds. */
const hopelessRatio = 3;
const launchMicroseconds = 30;

/** Belongs to one device; uses a stream of the caller's. */
export class Tuner implements Disposable {
  readonly #device: Device;
  readonly #stream: Stream;
  readonly #began: Event;
  readonly #ended: Event;
  #sweep: DeviceMemory | undefined;
  /** Microseconds of a small one in a graph. */
  #memsetTime: number | undefined;

  constructor(device: Device, stream: Stream) {
    this.#device = device;
    this.#stream = stream;
    this.#began = device.createEvent({ timing: true });
    this.#ended = device.createEvent({ timing: true });
  }

  /**
   * The fastest of the candidates that run. Lets the event loop run between candidates. A device failure (CUDA_FAILED) is thrown
   * on; other errors only rule a candidate out.
   * @throws SdxlError ENGINE_BUILD_FAILED where none runs, with the reasons; CUDA_OUT_OF_MEMORY where that is one of them.
   */
  async fastest<T>(candidates: readonly Candidate<T>[], options: TuneOptions = {}): Promise<Tuned<T>> {
    const { repeats = 9, signal } = options;
    const refused: { label: string; reason: string }[] = [];
    let exhausted: SdxlError | undefined;
    let fastest = Number.POSITIVE_INFINITY;
    const timed: { candidate: Candidate<T>; microseconds: number }[] = [];
    for (const candidate of candidates) {
      await setImmediate();
      signal?.throwIfAborted();
      try {
        const once = this.#once(candidate.run);
        const hopeless = once > fastest * hopelessRatio + launchMicroseconds;
        const microseconds = hopeless ? once : this.time(candidate.run, { ...options, repeats: firstRepeats });
        fastest = Math.min(fastest, microseconds);
        timed.push({ candidate, microseconds });
      } catch (error) {
        const failure = toSdxlError(error);
        if (failure.code === 'CUDA_FAILED') throw error;
        if (failure.code === 'CUDA_OUT_OF_MEMORY') exhausted ??= failure;
        refused.push({ label: candidate.label, reason: failure.message });
      }
    }
    timed.sort((a, b) => a.microseconds - b.microseconds);
    if (timed.length > 1) {
      const last = timed.slice(0, finalists);
      const times = this.#times(
        last.map(({ candidate }) => candidate.run),
        { ...options, repeats },
      );
      last.forEach((entry, index) => (entry.microseconds = times[index] ?? entry.microseconds));
      timed.sort((a, b) => a.microseconds - b.microseconds);
    }
    const ranking = timed.map(({ candidate, microseconds }) => ({ label: candidate.label, microseconds }));
    const [best] = timed;
    if (best === undefined) {
      if (exhausted !== undefined) throw exhausted;
      const reasons = refused.map(({ label, reason }) => `${label}: ${reason}`);
      throw new SdxlError('ENGINE_BUILD_FAILED', `none of ${candidates.length} tactics runs: ${reasons.join('; ')}`, {
        fields: { candidates: candidates.length },
      });
    }
    return { tactic: best.candidate.tactic, label: best.candidate.label, microseconds: best.microseconds, ranking, refused };
  }

  /** Microseconds of one launch: the median of `repeats` runs of a graph of `launches`. Blocks the thread while it runs. */
  time(run: Candidate<unknown>['run'], options: TuneOptions = {}): number {
    return this.#times([run], options)[0] ?? Number.NaN;
  }

  close(): void {
    const sweep = this.#sweep === undefined ? [] : [this.#sweep];
    this.#sweep = undefined;
    closeAll([this.#began, this.#ended, ...sweep]);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Of several, each as {@link time}: in turns, so that a change of the device's clock meets all alike. */
  #times(runs: readonly Candidate<unknown>['run'][], options: TuneOptions): readonly number[] {
    const { repeats = 9, coldCache = false, freeMemsets = false } = options;
    const once = runs.map((run) => this.#once(run));
    const { least, most } = launchLimits;
    const launches = options.launches ?? Math.min(most, Math.max(least, Math.round(graphMicroseconds / Math.max(1, Math.min(...once)))));
    const taken = freeMemsets ? runs.map((run) => this.#memsetsOf(run)) : runs.map(() => 0);
    if (!coldCache) return this.#medians(runs, launches, repeats).map((time, index) => time - (taken[index] ?? 0));
    const sweep = (this.#sweep ??= this.#device.allocate(2 * this.#device.properties.l2CacheBytes, 'sweeping the cache'));
    const sweepOnly = (stream: Stream): void => stream.fill(sweep.pointer, 0, sweep.sizeBytes);
    const swept = runs.map((run) => (stream: Stream, launch: number): void => {
      sweepOnly(stream);
      run(stream, launch);
    });
    const [sweepTime = 0, ...times] = this.#medians([sweepOnly, ...swept], launches, repeats);
    return times.map((time, index) => time - sweepTime - (taken[index] ?? 0));
  }

  /** Microseconds of a single launch, after one that is not timed: libraries load kernels at the first, which a capture forbids. */
  #once(run: Candidate<unknown>['run']): number {
    run(this.#stream, 0);
    this.#began.record(this.#stream);
    run(this.#stream, 0);
    this.#ended.record(this.#stream);
    this.#ended.synchronize();
    return this.#ended.elapsedMs(this.#began) * 1000;
  }

  /** Microseconds of the memsets in one launch. */
  #memsetsOf(run: Candidate<unknown>['run']): number {
    using graph = this.#stream.capture(() => run(this.#stream, 0));
    const memsets = graph.countNodes()['memset'] ?? 0;
    if (memsets === 0) return 0;
    if (this.#memsetTime === undefined) {
      using memory = this.#device.allocate(256);
      [this.#memsetTime = 0] = this.#medians([(stream): void => stream.fill(memory.pointer, 0, memory.sizeBytes)], 100, 9);
    }
    return memsets * this.#memsetTime;
  }

  #medians(runs: readonly Candidate<unknown>['run'][], launches: number, repeats: number): readonly number[] {
    const executables: ExecutableGraph[] = [];
    try {
      for (const run of runs) {
        using graph = this.#stream.capture(() => {
          for (let launch = 0; launch < launches; launch++) run(this.#stream, launch);
        });
        executables.push(graph.instantiate());
      }
      for (const executable of executables) this.#milliseconds(executable);
      const times: number[][] = executables.map(() => []);
      for (let round = 0; round < repeats; round++) {
        executables.forEach((executable, index) => times[index]?.push(this.#milliseconds(executable)));
      }
      return times.map((each) => ((each.sort((a, b) => a - b)[Math.floor(repeats / 2)] ?? 0) * 1000) / launches);
    } finally {
      closeAll(executables);
    }
  }

  #milliseconds(executable: ExecutableGraph): number {
    this.#began.record(this.#stream);
    executable.launch(this.#stream);
    this.#ended.record(this.#stream);
    this.#ended.synchronize();
    return this.#ended.elapsedMs(this.#began);
  }
}
