/** The operator's metrics (docs/operator.md). What concerns one job is read from the cache at each scrape and gone with the object. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { conditionOf, isFinished, isTrue, podCount, rankCount, type StoredJob } from '../api/index.js';
import type { CallFacts } from '../kube/index.js';
import type { Fact } from './step.js';

export interface MetricsSources {
  readonly jobs: () => Iterable<StoredJob>;
  readonly queueDepth: () => number;
  readonly isLeader: () => boolean;
  /** Resources that are watched, with when the server was last heard of. */
  readonly watches: () => Iterable<readonly [resource: string, heardAt: number]>;
  readonly version: string;
}

const startupSeconds = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];
const imageSeconds = [0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800];
const finishedResults = ['complete', 'failed'] as const;
const restartReasons = ['failure', 'disruption'] as const;
const reconcileResults = ['success', 'refused', 'error', 'conflict'] as const;
const callSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15];

export class OperatorMetrics {
  readonly #registry = new Registry();
  readonly #jobs: MetricsSources['jobs'];
  readonly #namespaces = new Set<string>();
  readonly #finished: Counter<'namespace' | 'result'>;
  readonly #restarts: Counter<'namespace' | 'reason'>;
  readonly #startup: Histogram<'namespace'>;
  readonly #latency: Histogram<'namespace'>;
  readonly #reconciles: Counter<'result'>;
  readonly #reconcileSeconds: Histogram;
  readonly #queueSeconds: Histogram;
  readonly #watchRestarts: Counter<'resource' | 'reason'>;
  readonly #calls: Counter<'verb' | 'resource' | 'code'>;
  readonly #callSeconds: Histogram<'verb'>;

  constructor(sources: MetricsSources) {
    this.#jobs = sources.jobs;
    const registers = [this.#registry];
    const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
      new Counter({ name, help, labelNames: [...labelNames], registers });
    const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: readonly L[] = []): Histogram<L> =>
      new Histogram({ name, help, buckets, labelNames: [...labelNames], registers });
    this.#finished = counter('sdxl_jobs_finished_total', 'Jobs that have ended, by result', ['namespace', 'result']);
    this.#restarts = counter('sdxl_job_restarts_total', 'Gangs started again, by reason', ['namespace', 'reason']);
    this.#startup = histogram('sdxl_job_startup_seconds', "From a job's start to its gang being ready", startupSeconds, ['namespace']);
    this.#latency = histogram('sdxl_job_image_latency_seconds', 'Prompt in to file written, of images of complete jobs', imageSeconds, [
      'namespace',
    ]);
    this.#reconciles = counter('sdxl_operator_reconcile_total', 'Reconciles, by result', ['result']);
    this.#reconcileSeconds = histogram('sdxl_operator_reconcile_seconds', 'Duration of a reconcile', callSeconds);
    this.#queueSeconds = histogram('sdxl_operator_queue_wait_seconds', 'How long a job waited in the queue', callSeconds);
    this.#watchRestarts = counter('sdxl_operator_watch_restarts_total', 'Watches that ended, by reason', ['resource', 'reason']);
    this.#calls = counter('sdxl_operator_api_requests_total', 'Calls of the API server; code 0: no answer', ['verb', 'resource', 'code']);
    this.#callSeconds = histogram('sdxl_operator_api_request_seconds', 'Duration of calls of the API server', callSeconds, ['verb']);
    for (const result of reconcileResults) this.#reconciles.inc({ result }, 0);
    this.#atScrape(sources);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    for (const { metadata } of this.#jobs()) this.#startAtZero(metadata.namespace);
    return this.#registry.metrics();
  }

  reconciled(result: (typeof reconcileResults)[number], seconds: number): void {
    this.#reconciles.inc({ result });
    this.#reconcileSeconds.observe(seconds);
  }

  waited(seconds: number): void {
    this.#queueSeconds.observe(seconds);
  }

  watchRestarted(resource: string, reason: string): void {
    this.#watchRestarts.inc({ resource, reason });
  }

  called({ verb, path, status, seconds }: CallFacts): void {
    this.#calls.inc({ verb, resource: resourceOf(path), code: String(status) });
    if (verb !== 'WATCH') this.#callSeconds.observe({ verb }, seconds);
  }

  happened(namespace: string, fact: Fact): void {
    this.#startAtZero(namespace);
    switch (fact.type) {
      case 'finished':
        this.#finished.inc({ namespace, result: fact.result });
        for (const seconds of fact.latencies) this.#latency.observe({ namespace }, seconds);
        break;
      case 'restarted':
        this.#restarts.inc({ namespace, reason: fact.reason });
        break;
      case 'ready':
        this.#startup.observe({ namespace }, fact.seconds);
        break;
    }
  }

  /** A counter that is first seen at 1 has not grown: `increase` and `rate` would miss the first of each namespace. */
  #startAtZero(namespace: string): void {
    if (this.#namespaces.has(namespace)) return;
    this.#namespaces.add(namespace);
    for (const result of finishedResults) this.#finished.inc({ namespace, result }, 0);
    for (const reason of restartReasons) this.#restarts.inc({ namespace, reason }, 0);
    this.#startup.zero({ namespace });
    this.#latency.zero({ namespace });
  }

  #atScrape({ jobs, queueDepth, isLeader, watches, version }: MetricsSources): void {
    const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[], collect: (gauge: Gauge<L>) => void): void => {
      const made = new Gauge<L>({
        name,
        help,
        labelNames: [...labelNames],
        registers: [this.#registry],
        collect: () => {
          made.reset();
          collect(made);
        },
      });
    };
    const each = <L extends string>(visit: (gauge: Gauge<L>, job: StoredJob, labels: { namespace: string; job: string }) => void) => {
      return (made: Gauge<L>): void => {
        for (const job of jobs()) visit(made, job, { namespace: job.metadata.namespace, job: job.metadata.name });
      };
    };
    gauge(
      'sdxl_job_info',
      'A job, with what it asks for',
      ['namespace', 'job', 'size', 'ranks', 'pods', 'backend'],
      each((made, { spec }, labels) => {
        const size = `${String(spec.width)}x${String(spec.height)}`;
        made.set({ ...labels, size, ranks: String(rankCount(spec)), pods: String(podCount(spec)), backend: spec.backend }, 1);
      }),
    );
    gauge(
      'sdxl_job_condition',
      "A job's conditions: 1 where True",
      ['namespace', 'job', 'type'],
      each((made, { status }, labels) => {
        for (const { type, status: state } of status.conditions ?? []) made.set({ ...labels, type }, state === 'True' ? 1 : 0);
      }),
    );
    gauge(
      'sdxl_job_waiting',
      'A job that is neither suspended nor finished and whose gang does not run, by what it waits for',
      ['namespace', 'job', 'reason'],
      each((made, { status }, labels) => {
        const ready = conditionOf(status, 'GangReady');
        if (ready?.status === 'False' && !isFinished(status) && !isTrue(status, 'Suspended'))
          made.set({ ...labels, reason: ready.reason }, 1);
      }),
    );
    gauge(
      'sdxl_job_progress_ratio',
      "Share of a job's denoising steps that are done",
      ['namespace', 'job'],
      each((made, { status }, labels) => {
        const done = status.progress?.done;
        if (done !== undefined) made.set(labels, Number.parseFloat(done) / 100);
      }),
    );
    gauge(
      'sdxl_job_heartbeat_timestamp_seconds',
      'When the ranks of a running job last told of progress',
      ['namespace', 'job'],
      each((made, { status }, labels) => {
        const time = status.progress?.time;
        if (time !== undefined && status.phase === 'Running' && !isFinished(status)) made.set(labels, Date.parse(time) / 1000);
      }),
    );
    gauge('sdxl_operator_queue_depth', 'Jobs that wait to be reconciled', [], (made) => {
      made.set(queueDepth());
    });
    gauge('sdxl_operator_is_leader', 'Whether this process reconciles', [], (made) => {
      made.set(isLeader() ? 1 : 0);
    });
    gauge('sdxl_operator_watch_last_event_timestamp_seconds', 'When the server was last heard of', ['resource'], (made) => {
      for (const [resource, heardAt] of watches()) made.set({ resource }, heardAt / 1000);
    });
    gauge('sdxl_operator_build_info', 'Version', ['version'], (made) => {
      made.set({ version }, 1);
    });
    gauge('process_resident_memory_bytes', 'Memory of this process', [], (made) => {
      made.set(process.memoryUsage.rss());
    });
    const cpu: Counter = new Counter({
      name: 'process_cpu_seconds_total',
      help: 'Processor time of this process',
      registers: [this.#registry],
      collect: () => {
        const { user, system } = process.cpuUsage();
        cpu.reset();
        cpu.inc((user + system) / 1e6);
      },
    });
  }
}

/** `/apis/GROUP/VERSION/namespaces/NAME/RESOURCE/…`: names of objects are no labels. */
function resourceOf(path: string): string {
  const parts = path.split('/').slice(path.startsWith('/api/') ? 3 : 4);
  const [resource = '', , subresource] = parts[0] === 'namespaces' && parts.length > 2 ? parts.slice(2) : parts;
  return subresource === undefined ? resource : `${resource}/${subresource}`;
}
