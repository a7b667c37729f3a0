/**
 * The process of one rank, a child of a launcher. Takes its assignment from the first message and reports phases, events and a
 * heartbeat; ends when the work is done, when told to (SIGTERM), or when the launcher is gone, whatever comes first.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ExitCode, SdxlError, toSdxlError, type SerializedError } from '../errors/index.js';
import { RankMetrics } from '../observe/index.js';
import type { PipelineEvent } from '../pipeline/index.js';
import { heapTrimmer } from './heap-growth.js';
import { heartbeatIntervalMs, type Assignment, type LauncherMessage, type RankMessage } from './messages.js';
import { measure } from './pipeline-metrics.js';
import { RankTrace } from './rank-trace.js';
import { runRank, stopped } from './rank.js';
import type { WatchedCommunicator } from './watched-communicator.js';

/** How long an orphan may take to end by itself. */
const orphanGraceMs = 3_000;

const stop = new AbortController();
let assigned = false;
process.title = 'sdxl rank';
// A terminal sends ^C to the whole group; what becomes of the ranks is the launcher's decision.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => {
  if (!assigned) process.exit(ExitCode.terminated);
  stop.abort(stopped('the launcher stopped this rank'));
});
process.on('disconnect', () => {
  if (!assigned) process.exit(ExitCode.terminated);
  setTimeout(die, orphanGraceMs);
  stop.abort(stopped('the launcher is gone'));
});
process.on('uncaughtException', (error) => {
  void crash(error);
});
process.once('message', (message: LauncherMessage) => {
  assigned = true;
  void main(message.assignment);
});

async function main(assignment: Assignment): Promise<void> {
  const { job, rank, worldSize, gracePeriodMs } = assignment;
  process.title = `sdxl rank ${String(rank)}/${String(worldSize)}`;
  const metrics = new RankMetrics({ job: job.name, rank });
  let watched: WatchedCommunicator | undefined;
  const heartbeat = setInterval(() => {
    void send({ type: 'heartbeat', waitingFor: watched?.waitingFor ?? null });
    void sendMetrics(metrics);
  }, heartbeatIntervalMs);
  const record = measure(metrics, job.spec);
  const trimHeap = heapTrimmer();
  const trace = assignment.traced ? new RankTrace((spans) => void send({ type: 'trace', spans })) : undefined;
  const work = runRank(
    assignment,
    {
      metrics,
      trace,
      phase: (phase) => void send({ type: 'phase', phase }),
      event: (event: PipelineEvent) => {
        trace?.event(event);
        record(event);
        // An image's last stage on every rank.
        if (event.type === 'stage-ended' && event.stage === 'decode') trimHeap();
        void send({ type: 'event', event });
      },
      sample: (image, seconds) => void send({ type: 'sample', image, seconds }),
      log: (level, message, fields = {}) => void send({ type: 'log', level, message, fields }),
      joined: (communicator) => {
        watched = communicator;
      },
    },
    stop.signal,
  );
  const outcome = await settle(work, gracePeriodMs);
  clearInterval(heartbeat);
  trace?.flush();
  await sendMetrics(metrics);
  await send({ type: 'outcome', outcome: outcome.error === undefined ? { ok: true } : { ok: false, error: outcome.error } });
  // Leaving while a native call runs would abort the process with a core dump.
  if (!outcome.drained) die();
  process.exit(outcome.error === undefined ? ExitCode.success : SdxlError.fromJSON(outcome.error).exitCode);
}

interface Settled {
  readonly error: SerializedError | undefined;
  /** Whether everything is closed. */
  readonly drained: boolean;
}

/** Waits for the work; once told to stop, only as long as the launcher will wait before it kills. */
async function settle(work: Promise<void>, gracePeriodMs: number): Promise<Settled> {
  const ended = work.then(
    (): Settled => ({ error: undefined, drained: true }),
    (error: unknown): Settled => ({ error: toSdxlError(error).toJSON(), drained: true }),
  );
  const overdue = new Promise<Settled>((resolve) => {
    stop.signal.addEventListener('abort', () => {
      void delay(gracePeriodMs * 0.8).then(() => {
        resolve({ error: toSdxlError(stop.signal.reason).toJSON(), drained: false });
      });
    });
  });
  return Promise.race([ended, overdue]);
}

async function crash(error: unknown): Promise<void> {
  await send({ type: 'outcome', outcome: { ok: false, error: toSdxlError(error).toJSON() } });
  die();
}

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('unreachable: SIGKILL cannot be caught');
}

/** Resolves once the message is handed over; a closed channel is the disconnect handler's business. */
function send(message: RankMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || process.send === undefined) resolve();
    else
      process.send(message, undefined, {}, () => {
        resolve();
      });
  });
}

async function sendMetrics(metrics: RankMetrics): Promise<void> {
  await send({ type: 'metrics', metrics: await metrics.snapshot() });
}
