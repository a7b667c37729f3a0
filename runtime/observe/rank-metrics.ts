/** The metrics one rank counts. Names and labels are documented in docs/metrics.md; a test compares the two. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** A snapshot that crosses processes: what prom-client's own aggregation takes. */
export type MetricsSnapshot = readonly object[];

const imageSeconds = [0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800];
const stageSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const stepSeconds = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5, 10, 20, 60];
const collectiveSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];
const buildSeconds = [0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800];

const stages = ['encode', 'denoise', 'decode', 'write'];
const imageResults = ['written', 'skipped'] as const;

export type ImageResult = (typeof imageResults)[number];

export class RankMetrics {
  readonly #registry = new Registry();
  readonly #imageSeconds: Histogram;
  readonly #stageSeconds: Histogram<'stage'>;
  readonly #stepSeconds: Histogram;
  readonly #collectiveSeconds: Histogram<'operation'>;
  readonly #collectiveBytes: Counter<'operation' | 'direction'>;
  readonly #engineSeconds: Histogram<'component' | 'cached'>;
  readonly #images: Counter<'result'>;
  readonly #progress: Gauge;

  /** Every series carries the labels `job` and `rank`. */
  constructor(labels: { readonly job: string; readonly rank: number }) {
    this.#registry.setDefaultLabels({ job: labels.job, rank: String(labels.rank) });
    const registers = [this.#registry];
    // Images are rank 0's: elsewhere a series of them would only ever be empty.
    const imageRegisters = labels.rank === 0 ? registers : [];
    const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: readonly L[] = []): Histogram<L> =>
      new Histogram({ name, help, buckets, labelNames: [...labelNames], registers });
    this.#imageSeconds = new Histogram({
      name: 'sdxl_image_latency_seconds',
      help: 'Prompt in to file written, of each image; on rank 0',
      buckets: imageSeconds,
      registers: imageRegisters,
    });
    this.#stageSeconds = histogram('sdxl_stage_seconds', 'Duration of each stage of an image', stageSeconds, ['stage']);
    this.#stepSeconds = histogram('sdxl_step_seconds', 'Duration of each denoising step', stepSeconds);
    this.#collectiveSeconds = histogram('sdxl_collective_seconds', 'Duration of each exchange with peers', collectiveSeconds, [
      'operation',
    ]);
    this.#collectiveBytes = new Counter({
      name: 'sdxl_collective_bytes_total',
      help: 'Bytes exchanged with peers',
      labelNames: ['operation', 'direction'],
      registers,
    });
    this.#engineSeconds = histogram('sdxl_engine_build_seconds', 'Time until an engine was built, or found in the cache', buildSeconds, [
      'component',
      'cached',
    ]);
    this.#images = new Counter({
      name: 'sdxl_images_total',
      help: 'Images by result; on rank 0',
      labelNames: ['result'],
      registers: imageRegisters,
    });
    this.#progress = new Gauge({ name: 'sdxl_progress_ratio', help: "Share of the job's denoising steps that are done", registers });
    // A series that is first seen at 1 has not grown: rates would miss the first stage and the first image.
    for (const stage of stages) this.#stageSeconds.zero({ stage });
    for (const result of imageResults) this.#images.inc({ result }, 0);
  }

  engineReady(component: string, cached: boolean, seconds: number): void {
    this.#engineSeconds.observe({ component, cached: String(cached) }, seconds);
  }

  stageEnded(stage: string, seconds: number): void {
    this.#stageSeconds.observe({ stage }, seconds);
  }

  stepEnded(seconds: number): void {
    this.#stepSeconds.observe(seconds);
  }

  imageEnded(result: ImageResult, seconds: number): void {
    this.#images.inc({ result });
    if (result === 'written') this.#imageSeconds.observe(seconds);
  }

  progressed(ratio: number): void {
    this.#progress.set(ratio);
  }

  /** A communicator's observer. */
  exchanged(event: {
    readonly operation: string;
    readonly seconds: number;
    readonly sentBytes: number;
    readonly receivedBytes: number;
  }): void {
    const { operation, seconds, sentBytes, receivedBytes } = event;
    this.#collectiveSeconds.observe({ operation }, seconds);
    this.#collectiveBytes.inc({ operation, direction: 'sent' }, sentBytes);
    this.#collectiveBytes.inc({ operation, direction: 'received' }, receivedBytes);
  }

  async snapshot(): Promise<MetricsSnapshot> {
    return this.#registry.getMetricsAsJSON();
  }
}
