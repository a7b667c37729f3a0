/**
 * Asks rank 0 of running jobs how far they are and writes it to their status, by a field manager of its own and at most every five seconds.
 * Asking costs the API server nothing; writing is left out while others wait for it.
 */
import { get } from 'node:http';
import { childrenKey, isFinished, isTrue, jobResource, metricsPort, timestamp, type JobProgress, type StoredJob } from '../api/index.js';
import { ApiError, type ApiClient, type Informer } from '../kube/index.js';
import { stallLimitMs } from './outcome.js';
import { describeError, type Log } from './log.js';
import { holds, type GangPod } from './observed.js';
import { latencies } from './summary.js';
import { isCount, isRatio } from './words.js';

export interface ProgressParts {
  readonly client: ApiClient;
  readonly jobs: Informer<StoredJob>;
  readonly pods: Informer<GangPod>;
  readonly log: Log;
  /** The job's gang seems to hang. */
  readonly onStalled: (job: StoredJob) => void;
  readonly intervalMs?: number;
}

interface Heard {
  readonly attempt: number;
  /** What was said last, since when, and when it was asked for last: while this process sleeps, nobody listens. */
  readonly said: string;
  readonly since: number;
  readonly askedAt: number;
  /** How often in a row there was no answer, though the kubelet had one. */
  readonly missed: number;
}

const fieldManager = 'sdxl-operator-progress';
const answerWithinMs = 2_000;
const asksAtOnce = 16;
/** So many in a row are no chance. */
const unheardAsks = 3;
const maxAnswerBytes = 1 << 20;
const maxPhaseLength = 32;

export class ProgressWatch {
  readonly #parts: ProgressParts;
  readonly #intervalMs: number;
  readonly #heard = new Map<string, Heard>();

  constructor(parts: ProgressParts) {
    this.#parts = parts;
    this.#intervalMs = parts.intervalMs ?? 5_000;
  }

  /** How long rank 0 of the job has told nothing new, as far as this process has listened. */
  stalledMs(job: StoredJob): number | undefined {
    const heard = this.#heard.get(job.metadata.uid);
    return heard === undefined || heard.attempt !== job.status.attempt ? undefined : heard.askedAt - heard.since;
  }

  /** Asks all running jobs, again and again, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const started = performance.now();
      const running = [...this.#parts.jobs.values()].filter(isRunning);
      const uids = new Set(running.map(({ metadata }) => metadata.uid));
      for (const uid of this.#heard.keys()) if (!uids.has(uid)) this.#heard.delete(uid);
      const queue = running.values();
      await Promise.all(
        Array.from({ length: asksAtOnce }, async () => {
          for (const job of queue) if (!signal.aborted) await this.#follow(job, signal);
        }),
      );
      await pause(Math.max(0, this.#intervalMs - (performance.now() - started)), signal);
    }
  }

  async #follow(job: StoredJob, signal: AbortSignal): Promise<void> {
    const { pods, onStalled, log } = this.#parts;
    const { uid, namespace } = job.metadata;
    const attempt = job.status.attempt ?? 0;
    const jobUid = job.status.gang?.jobUid;
    const first = pods.indexed(childrenKey(namespace, uid)).find((pod) => pod.jobUid === jobUid && pod.index === 0);
    if (first?.ip === undefined || first.phase !== 'Running') return;
    const last = this.#heard.get(uid);
    const heard = last?.attempt === attempt ? last : { said: '', since: performance.now(), missed: 0 };
    try {
      const status = parseRunStatus(await ask(first.ip, signal));
      const said = JSON.stringify(status.said);
      const askedAt = performance.now();
      this.#heard.set(uid, { attempt, said, since: heard.said === said ? heard.since : askedAt, askedAt, missed: 0 });
      await this.#write(job, status.progress, signal);
    } catch (error) {
      if (signal.aborted) return;
      const askedAt = performance.now();
      // Where the kubelet hears it, the way from here is closed, by a NetworkPolicy or a mesh: no fault of the gang, which has a watchdog of its own.
      const isHeard = holds(first, 'Ready');
      const missed = isHeard ? heard.missed + 1 : 0;
      this.#heard.set(uid, { attempt, said: heard.said, since: isHeard ? askedAt : heard.since, askedAt, missed });
      const level = missed === unheardAsks ? 'warn' : 'debug';
      const effect = missed < unheardAsks ? '' : '; its progress is not shown, and it is not ended should it hang';
      const of = { namespace: job.metadata.namespace, job: job.metadata.name };
      log.log(level, `rank 0 was not heard: ${describeError(error)}${effect}`, of);
    }
    if ((this.stalledMs(job) ?? 0) > stallLimitMs(job)) onStalled(job);
  }

  async #write(job: StoredJob, progress: JobProgress, signal: AbortSignal): Promise<void> {
    const { client, jobs } = this.#parts;
    const { namespace, name } = job.metadata;
    // As it is now: the answer took its time.
    const current = jobs.get(`${namespace}/${name}`);
    if (current?.metadata.uid !== job.metadata.uid || !isRunning(current)) return;
    const { time, ...before } = current.status.progress ?? {};
    const next = onward(before, progress);
    if (JSON.stringify(sorted(before)) === JSON.stringify(sorted(next)) || !client.limiter.hasRoom) return;
    const { resourceVersion } = current.metadata;
    const object = {
      metadata: { name, namespace, resourceVersion },
      status: { progress: { ...next, time: timestamp(client.clock.now()) } },
    };
    try {
      jobs.absorb(await client.apply(jobResource, object, { subresource: 'status', fieldManager, signal }));
    } catch (error) {
      // The job has changed, or is gone: the next answer finds it as it is.
      if (!(error instanceof ApiError && (error.isConflict || error.isNotFound))) throw error;
    }
  }
}

/**
 * What is told of a job never goes back: a gang that is started again keeps the images that are complete, and says so only once it has looked at them.
 * Phase, step and latencies are those of the gang that runs.
 */
export function onward(before: JobProgress, heard: JobProgress): JobProgress {
  const percent = (done: string | undefined): number => Number.parseInt(done ?? '0', 10);
  const done = percent(before.done) > percent(heard.done) ? before.done : heard.done;
  const imagesDone = Math.max(before.imagesDone ?? 0, heard.imagesDone ?? 0);
  return { ...heard, ...(done === undefined ? {} : { done }), imagesDone };
}

function isRunning({ status, metadata }: StoredJob): boolean {
  if (metadata.deletionTimestamp !== undefined || isFinished(status)) return false;
  return status.phase === 'Running' || isTrue(status, 'GangReady');
}

interface RunStatus {
  readonly progress: JobProgress;
  /** What changes while the gang gets on. */
  readonly said: unknown;
}

/** What the runtime's /status answers (docs/metrics.md). */
function parseRunStatus(text: string): RunStatus {
  const status = JSON.parse(text) as Readonly<Record<string, unknown>>;
  const { phase, imagesDone, progressRatio, latencySeconds, ranks } = status;
  const { p50, p95 } = (latencySeconds ?? {}) as { readonly p50?: unknown; readonly p95?: unknown };
  const steps = Array.isArray(ranks)
    ? ranks.map((rank: { readonly phase?: unknown; readonly step?: unknown }) => [rank.phase, rank.step])
    : [];
  const step = Math.max(0, ...steps.flatMap(([, count]) => (isCount(count) ? [count] : [])));
  return {
    progress: {
      ...(isRatio(progressRatio) ? { done: `${String(Math.floor(progressRatio * 100))}%` } : {}),
      ...(typeof phase === 'string' ? { phase: phase.slice(0, maxPhaseLength) } : {}),
      ...(isCount(imagesDone) ? { imagesDone } : {}),
      step,
      ...latencies(p50, p95),
    },
    said: [imagesDone, steps],
  };
}

async function ask(address: string, signal: AbortSignal): Promise<string> {
  const host = address.includes(':') ? `[${address}]` : address;
  return new Promise((resolve, reject) => {
    const request = get(`http://${host}:${String(metricsPort)}/status`, { agent: false, timeout: answerWithinMs, signal }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
        if (body.length > maxAnswerBytes) response.destroy(new Error('the answer is too long'));
      });
      response.once('error', reject).once('end', () => {
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`/status answered ${String(response.statusCode)}`));
      });
    });
    // The socket's own timeout starts anew with every byte.
    const deadline = setTimeout(() => request.destroy(new Error('no answer in time')), answerWithinMs);
    request.once('close', () => {
      clearTimeout(deadline);
    });
    request.once('error', reject);
  });
}

function sorted(record: object): unknown {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
  });
}
