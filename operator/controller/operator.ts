/**
 * The operator as a whole: caches that follow the server, a queue of jobs to look at, and, for as long as this process leads, workers that look at
 * them. Parts start in this order: caches → leadership → workers and progress. They end in the reverse: no new work → work in hand → Lease → caches.
 */
import { setMaxListeners } from 'node:events';
import { childrenKey, jobResource, labelNames, storedJob, type StoredJob } from '../api/index.js';
import {
  ApiClient,
  ApiError,
  Informer,
  LeaderElection,
  RateLimiter,
  resources,
  WorkQueue,
  type Connection,
  type ElectionTiming,
  type KubeObject,
  type Resource,
} from '../kube/index.js';
import type { Settings } from '../resources/index.js';
import { describeError, type Log } from './log.js';
import { OperatorMetrics } from './metrics.js';
import { gangJob, gangPod, type GangJob, type GangPod } from './observed.js';
import { ProgressWatch } from './progress.js';
import { ChildRefused, Reconciler } from './reconciler.js';

export interface OperatorOptions {
  readonly connection: Connection;
  /** Undefined: all namespaces. */
  readonly namespace: string | undefined;
  /** Undefined: this process always leads. */
  readonly election:
    { readonly namespace: string; readonly name: string; readonly identity: string; readonly timing?: ElectionTiming } | undefined;
  readonly settings: Settings;
  readonly concurrency: number;
  readonly qps: number;
  readonly version: string;
  readonly log: Log;
  readonly progressIntervalMs?: number;
  readonly stallMs?: number;
}

/** A watch that was silent for longer says that this process, or the way to the server, is not well. */
const unhealthySilenceMs = 600_000;
/** How long the work in hand may take once the operator is to end. */
const finishWithinMs = 5_000;

const conflictRetry = { firstMs: 10, maxMs: 500 };

export class Operator {
  readonly metrics: OperatorMetrics;
  readonly #options: OperatorOptions;
  readonly #queue: WorkQueue;
  readonly #jobs: Informer<StoredJob>;
  readonly #gangs: Informer<GangJob>;
  readonly #pods: Informer<GangPod>;
  readonly #client: ApiClient;
  readonly #election: LeaderElection | undefined;
  readonly #electionClient: ApiClient;
  #working = false;

  constructor(options: OperatorOptions) {
    this.#options = options;
    const { connection, qps, version, election, log } = options;
    this.#queue = new WorkQueue({
      onWaited: (seconds) => {
        this.metrics.waited(seconds);
      },
    });
    const shared = { connection, fieldManager: 'sdxl-operator', userAgent: `sdxl-operator/${version}` };
    const observer = (facts: Parameters<OperatorMetrics['called']>[0]): void => {
      this.metrics.called(facts);
    };
    // The Lease is renewed whatever else waits for the server.
    this.#electionClient = new ApiClient({ ...shared, limiter: new RateLimiter(5, 10), deadlineMs: 5_000, observer });
    this.#election =
      election === undefined
        ? undefined
        : new LeaderElection({
            ...election,
            client: this.#electionClient,
            log: (message, error) => {
              log.log(error === undefined ? 'info' : 'warn', error === undefined ? message : `${message}: ${describeError(error)}`);
            },
          });
    const mayWriteForMs = this.#election === undefined ? {} : { mayWriteForMs: () => this.#election?.mayWriteForMs() ?? 0 };
    this.#client = new ApiClient({ ...shared, limiter: new RateLimiter(qps, qps * 2), observer, ...mayWriteForMs });
    const ofJob = ({ metadata }: KubeObject): void => {
      const name = metadata.labels?.[labelNames.jobName];
      if (name !== undefined) this.#changed(`${metadata.namespace ?? ''}/${name}`);
    };
    const byJob = ({ metadata }: KubeObject): string | undefined => {
      const uid = metadata.labels?.[labelNames.jobUid];
      return uid === undefined ? undefined : childrenKey(metadata.namespace ?? '', uid);
    };
    this.#jobs = this.#informer(jobResource, storedJob, (job, change) => {
      const key = `${job.metadata.namespace}/${job.metadata.name}`;
      if (change === 'deleted') this.#queue.forget(key);
      this.#changed(key);
    });
    this.#gangs = this.#informer(resources.job, gangJob, ofJob, byJob);
    this.#pods = this.#informer(resources.pod, gangPod, ofJob, byJob);
    this.metrics = new OperatorMetrics({
      jobs: () => this.#jobs.values(),
      queueDepth: () => this.#queue.depth,
      isLeader: () => this.isLeader,
      watches: () => this.#watches().map(({ plural, informer }) => [plural, informer.heardAt] as const),
      version,
    });
  }

  get isLeader(): boolean {
    return this.#election?.isLeader ?? this.#working;
  }

  /** All caches have been filled. */
  get isReady(): boolean {
    return this.#watches().every(({ informer }) => informer.synced);
  }

  /** Undefined: well; else what is not. */
  get unhealthy(): string | undefined {
    const silent = this.#watches().find(({ informer }) => informer.silentMs > unhealthySilenceMs);
    return silent === undefined
      ? undefined
      : `${silent.plural} have not been heard of for more than ${String(unhealthySilenceMs / 1000)} s`;
  }

  /** Runs until the signal aborts; resolves when everything has ended. */
  async run(signal: AbortSignal): Promise<void> {
    // Caches outlive the workers, and both end when either fails.
    const caches = new AbortController();
    setMaxListeners(0, caches.signal);
    const following = Promise.all(this.#watches().map(({ informer }) => informer.run(caches.signal)));
    try {
      if (this.#election === undefined) await this.#work(signal);
      else await this.#election.run((term) => this.#work(term), signal);
    } finally {
      this.#queue.close();
      caches.abort();
      await following;
      this.#client[Symbol.dispose]();
      this.#electionClient[Symbol.dispose]();
    }
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { log, settings, concurrency, progressIntervalMs } = this.#options;
    await Promise.race([Promise.all(this.#watches().map(({ informer }) => informer.filled)), aborted(signal)]);
    if (signal.aborted) return;
    this.#working = true;
    log.log('info', 'reconciling', { jobs: this.#jobs.size });
    const progress = new ProgressWatch({
      client: this.#client,
      jobs: this.#jobs,
      pods: this.#pods,
      log,
      onStalled: ({ metadata }) => {
        this.#queue.add(`${metadata.namespace}/${metadata.name}`);
      },
      ...(progressIntervalMs === undefined ? {} : { intervalMs: progressIntervalMs }),
    });
    const reconciler = new Reconciler({
      client: this.#client,
      jobs: this.#jobs,
      gangs: this.#gangs,
      pods: this.#pods,
      settings,
      metrics: this.metrics,
      log,
      stalledMs: (job) => progress.stalledMs(job),
    });
    // What an earlier leader left undone shows in no event.
    for (const { metadata } of this.#jobs.values()) this.#queue.add(`${metadata.namespace}/${metadata.name}`);
    // Work in hand is finished: no write goes out once another replica may lead.
    const inHand = new AbortController();
    setMaxListeners(0, inHand.signal, signal);
    signal.addEventListener(
      'abort',
      () =>
        setTimeout(() => {
          inHand.abort(signal.reason);
        }, finishWithinMs).unref(),
      { once: true },
    );
    try {
      await Promise.all([
        this.#queue.run(concurrency, (key) => this.#reconcile(reconciler, key, inHand.signal), signal),
        progress.run(signal),
      ]);
    } finally {
      this.#working = false;
      this.#queue.clear();
    }
  }

  /** Only who works on them needs to know: whoever takes over looks at every job, and nothing may have waited for it since long before. */
  #changed(key: string): void {
    if (this.#working) this.#queue.add(key);
  }

  async #reconcile(reconciler: Reconciler, key: string, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    const seconds = (): number => (performance.now() - started) / 1000;
    try {
      const requeueAfterMs = await reconciler.reconcile(key, signal);
      this.metrics.reconciled('success', seconds());
      this.#queue.forgive(key);
      if (requeueAfterMs !== undefined) this.#queue.addAfter(key, Math.max(0, requeueAfterMs));
    } catch (error) {
      if (signal.aborted) return;
      const conflict = error instanceof ApiError && error.isConflict;
      const result = conflict ? 'conflict' : error instanceof ChildRefused ? 'refused' : 'error';
      this.metrics.reconciled(result, seconds());
      this.#options.log.log(conflict ? 'debug' : 'warn', describeError(error), { key });
      // The cache was behind: with what the server has now the same is decided anew, and nobody need be spared.
      if (conflict) await this.#refresh(key, signal);
      this.#queue.addFailed(key, conflict ? conflictRetry : undefined);
    }
  }

  async #refresh(key: string, signal: AbortSignal): Promise<void> {
    const [namespace = '', name = ''] = key.split('/');
    try {
      const job = await this.#client.get(jobResource, namespace, name, signal);
      if (job !== undefined) this.#jobs.absorb(job);
    } catch (error) {
      this.#options.log.log('debug', `the job was not read again: ${describeError(error)}`, { key });
    }
  }

  #informer<T extends KubeObject>(
    resource: Resource,
    project: (object: KubeObject) => T,
    onChange: (object: T, change: 'set' | 'deleted') => void,
    indexBy?: (object: T) => string | undefined,
  ): Informer<T> {
    const { namespace, log, stallMs } = this.#options;
    return new Informer({
      client: this.#client,
      resource,
      namespace,
      project,
      onChange,
      ...(indexBy === undefined ? {} : { indexBy, labelSelector: labelNames.jobUid }),
      ...(stallMs === undefined ? {} : { stallMs }),
      onRestart: (reason, error) => {
        this.metrics.watchRestarted(resource.plural, reason);
        if (error === undefined) return;
        const unserved = error instanceof ApiError && error.isNotFound;
        const what = unserved ? `the API server serves no ${resource.kind}s: install their CRD (docs/install.md)` : describeError(error);
        log.log('warn', `watching ${resource.plural}: ${what}`, { reason });
      },
    });
  }

  #watches(): readonly { readonly plural: string; readonly informer: Informer<StoredJob> | Informer<GangJob> | Informer<GangPod> }[] {
    return [
      { plural: jobResource.plural, informer: this.#jobs },
      { plural: resources.job.plural, informer: this.#gangs },
      { plural: resources.pod.plural, informer: this.#pods },
    ];
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}
