/** Runs a launch and shows it: progress, log, metrics and status over HTTP. */
import { Writable } from 'node:stream';
import { clockMicros } from '../engine/index.js';
import { type SdxlError, toSdxlError } from '../errors/index.js';
import { jobName, launch, stepsOfImages, type LaunchFacts, type LocalJob, type RankMessage, type Task } from '../launch/index.js';
import {
  aggregateMetrics,
  createLog,
  ObservationServer,
  StatusTracker,
  TraceFile,
  type Log,
  type MetricsSnapshot,
} from '../observe/index.js';
import type { Context } from './context.js';
import { openProgress, type Progress } from './progress.js';

export interface RunOptions {
  readonly cacheDir?: string;
  readonly threads?: number;
  readonly memoryLimit?: number;
  readonly metricsPort?: number;
  /** File for a trace of every rank here. */
  readonly trace?: string;
}

export interface Follow {
  readonly task: Task;
  readonly job: LocalJob;
  readonly options: RunOptions;
  /** Images the display counts. */
  readonly images: number;
  readonly onMessage?: (rank: number, message: RankMessage) => void;
  readonly onStarting?: (facts: LaunchFacts) => void;
}

/** @throws SdxlError the launch's */
export async function follow(context: Context, { task, job, options, images, onMessage, onStarting }: Follow): Promise<void> {
  const { environment, stderr, stop, kill } = context;
  const steps = stepsOfImages(job.spec, images);
  const snapshots = new Map<number, MetricsSnapshot>();
  let status = new StatusTracker(jobName(job), steps, []);
  let progress: Progress | undefined;
  const shown = lineStream((line) => {
    if (progress === undefined) stderr.write(`${line}\n`);
    else progress.line(line);
  });
  const log = createLog({ level: environment.logLevel, format: environment.logFormat, stream: shown, fields: { job: jobName(job) } });
  const port = options.metricsPort ?? environment.metricsPort;
  let failure: SdxlError | undefined;
  const sources = {
    metrics: () => aggregateMetrics([...snapshots.values()]),
    status: () => status.get(),
    unhealthy: () => failure?.message,
  };
  await using server = port === undefined ? undefined : await ObservationServer.open({ host: environment.metricsHost, port }, sources);
  const trace = options.trace === undefined ? undefined : await TraceFile.open(options.trace, clockMicros());
  if (server !== undefined) log.log('info', `serving /metrics, /healthz and /status on ${environment.metricsHost}:${String(server.port)}`);
  try {
    await launch({
      task,
      job,
      environment,
      cacheDirectory: options.cacheDir ?? environment.cacheDirectory,
      threads: options.threads,
      memoryLimitBytes: options.memoryLimit,
      traced: trace !== undefined,
      observer: {
        starting: (facts) => {
          status = new StatusTracker(jobName(job), steps, facts.ranks);
          progress = openProgress({ rank: facts.ranks[0] ?? 0, steps, loads: task.kind !== 'build', stream: stderr });
          onStarting?.(facts);
        },
        started: (rank, pid) => {
          log.log('debug', 'started', { rank, pid });
        },
        message: (rank, message) => {
          status.heardFrom(rank);
          track(status, rank, message);
          if (message.type === 'metrics') snapshots.set(rank, message.metrics);
          else if (message.type === 'trace') trace?.add(rank, message.spans);
          else tell(log, rank, message);
          progress?.message(rank, message);
          onMessage?.(rank, message);
        },
      },
      stop,
      kill,
    });
  } catch (error) {
    failure = toSdxlError(error);
    status.failed(failure);
    throw failure;
  } finally {
    progress?.close();
    progress = undefined;
    await trace?.close();
  }
}

function track(status: StatusTracker, rank: number, message: RankMessage): void {
  if (message.type === 'phase') status.phaseChanged(rank, message.phase);
  if (message.type === 'outcome') {
    status.phaseChanged(rank, message.outcome.ok ? 'done' : 'failed');
    if (!message.outcome.ok) status.failed(message.outcome.error);
  }
  if (message.type === 'sample' && rank === 0) status.imageEnded(message.image, message.seconds);
  if (message.type !== 'event') return;
  if (message.event.type === 'step') status.stepEnded(rank, message.event.image, message.event.step);
  if (message.event.type === 'replica-step') status.stepEnded(undefined, message.event.image, message.event.step);
  if (message.event.type === 'image') {
    const { image, skipped, seconds } = message.event;
    status.imageEnded(image, skipped ? undefined : seconds);
  }
}

function tell(log: Log, rank: number, message: RankMessage): void {
  if (message.type === 'log') log.log(message.level, message.message, { rank, ...message.fields });
  if (message.type === 'event' && message.event.type === 'warning' && rank === 0) log.log('warn', message.event.message, { rank });
  // The cause is told once, at the end; here is who said what.
  if (message.type === 'outcome' && !message.outcome.ok) {
    log.log('debug', `ended with ${message.outcome.error.code}: ${message.outcome.error.message}`, { rank });
  }
}

/** Hands complete lines on. */
function lineStream(onLine: (line: string) => void): Writable {
  return new Writable({
    decodeStrings: false,
    write: (chunk: string | Buffer, _encoding, done) => {
      for (const line of String(chunk).replace(/\n$/u, '').split('\n')) onLine(line);
      done();
    },
  });
}
