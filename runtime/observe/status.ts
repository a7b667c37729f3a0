/** What `/status` answers: the state of the gang's local ranks and of the job, as the launcher last heard of it. */
import type { SerializedError } from '../errors/index.js';
import { JobProgress } from './job-progress.js';

/** A rank's phases, in order. */
export type RankPhase = 'starting' | 'building' | 'joining' | 'loading' | 'running' | 'closing' | 'done' | 'failed';

interface RankStatus {
  readonly rank: number;
  phase: RankPhase;
  /** Number of the image it makes, or made last; null before the first. */
  image: number | null;
  /** Denoising step of that image, from 1; 0 before the first. */
  step: number;
  /** ISO time of the last message. */
  lastHeartbeat: string | null;
}

export interface Status {
  readonly job: string;
  /** The phase of the rank that is least far. */
  readonly phase: RankPhase;
  readonly ranks: readonly Readonly<RankStatus>[];
  /** Images that are done, and of how many. */
  readonly imagesDone: number;
  readonly images: number;
  /** Of the image that is under way, or of the first. */
  readonly steps: number;
  /** Share of the job's denoising steps that are done, 0 … 1. */
  readonly progressRatio: number;
  /** Seconds from prompt to file of the images this run wrote; null before the first. */
  readonly latencySeconds: { readonly mean: number; readonly p50: number; readonly p95: number } | null;
  readonly lastError: Pick<SerializedError, 'code' | 'message'> | null;
}

const phaseOrder: readonly RankPhase[] = ['failed', 'starting', 'building', 'joining', 'loading', 'running', 'closing', 'done'];

export class StatusTracker {
  readonly #job: string;
  readonly #steps: readonly number[];
  readonly #ranks: Map<number, RankStatus>;
  readonly #latencies: number[] = [];
  readonly #progress: JobProgress;
  #lastError: Status['lastError'] = null;

  /** `steps` are those of each image. */
  constructor(job: string, steps: readonly number[], ranks: readonly number[]) {
    this.#job = job;
    this.#steps = steps;
    this.#progress = new JobProgress(steps);
    this.#ranks = new Map(ranks.map((rank) => [rank, { rank, phase: 'starting', image: null, step: 0, lastHeartbeat: null }]));
  }

  heardFrom(rank: number): void {
    this.#update(rank, { lastHeartbeat: new Date().toISOString() });
  }

  phaseChanged(rank: number, phase: RankPhase): void {
    this.#update(rank, { phase });
  }

  /** `rank` is undefined for a step of a rank elsewhere. */
  stepEnded(rank: number | undefined, image: number, step: number): void {
    if (rank !== undefined) this.#update(rank, { image, step });
    this.#progress.stepEnded(image, step);
  }

  /** `seconds` is undefined for an image that was found complete. */
  imageEnded(image: number, seconds: number | undefined): void {
    this.#progress.imageEnded(image);
    for (const status of this.#ranks.values()) if (status.image === image) status.step = 0;
    if (seconds !== undefined) this.#latencies.push(seconds);
  }

  failed(error: Pick<SerializedError, 'code' | 'message'>): void {
    this.#lastError = { code: error.code, message: error.message };
  }

  get progressRatio(): number {
    return this.#progress.ratio;
  }

  get(): Status {
    const ranks = [...this.#ranks.values()].map((status) => ({ ...status }));
    const phases = ranks.map(({ phase }) => phase);
    return {
      job: this.#job,
      phase: phaseOrder.find((phase) => phases.includes(phase)) ?? 'starting',
      ranks,
      imagesDone: this.#progress.imagesDone,
      images: this.#steps.length,
      steps: this.#steps[ranks[0]?.image ?? 0] ?? 0,
      progressRatio: this.progressRatio,
      latencySeconds: summarizeSeconds(this.#latencies),
      lastError: this.#lastError,
    };
  }

  #update(rank: number, change: Partial<RankStatus>): void {
    const status = this.#ranks.get(rank);
    if (status !== undefined) Object.assign(status, change);
  }
}

export function summarizeSeconds(seconds: readonly number[]): Status['latencySeconds'] {
  if (seconds.length === 0) return null;
  const mean = seconds.reduce((sum, value) => sum + value, 0) / seconds.length;
  return { mean, p50: quantile(seconds, 0.5), p95: quantile(seconds, 0.95) };
}

/** By linear interpolation between the two nearest values. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = q * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(position)] ?? Number.NaN, sorted[Math.ceil(position)] ?? Number.NaN];
  return below + (above - below) * (position - Math.floor(position));
}
