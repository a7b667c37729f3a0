/** What a launcher and its ranks say to each other over the IPC channel: plain JSON, one union per direction. */
import type { TlsIdentity } from '../collectives/index.js';
import type { SerializedError } from '../errors/index.js';
import type { LogFields, LogLevel, MetricsSnapshot, RankPhase, TraceSpan } from '../observe/index.js';
import type { PipelineEvent } from '../pipeline/index.js';
import type { LocalSpec } from './cluster-fields.js';

/** What ranks are started for. */
export type Task =
  /** Make the job's images; `resume`: keep those of an earlier attempt. */
  | { readonly kind: 'run'; readonly resume: boolean }
  /** Build the engines and stop; one rank does it for all. */
  | { readonly kind: 'build' }
  /** Make the job's image `images` times, write nothing. */
  | { readonly kind: 'bench'; readonly images: number };

/** All a rank needs to know; sent once, as the first message, so that no secret is in an argument or in the environment. */
export interface Assignment {
  readonly task: Task;
  readonly job: { readonly name: string; readonly spec: LocalSpec };
  readonly rank: number;
  readonly worldSize: number;
  /** Undefined in a world of one. */
  readonly meeting:
    | {
        readonly host: string;
        readonly port: number;
        readonly listenHost: string;
        readonly token: string;
        /** Undefined: connections are plain. */
        readonly tls: TlsIdentity | undefined;
      }
    | undefined;
  readonly cacheDirectory: string;
  readonly threads: number;
  /** This rank's GPU among those its machine shows, and how its engines are made. */
  readonly cuda: {
    readonly device: number;
    readonly libraryPath: string | undefined;
    readonly tacticLimit: number;
    readonly timingCache: string | undefined;
  };
  /** How long the rank may take to end once told to. */
  readonly gracePeriodMs: number;
  /** Whether to tell what is done when. */
  readonly traced: boolean;
}

export interface LauncherMessage {
  readonly type: 'start';
  readonly assignment: Assignment;
}

/** How a rank ended, by its own account. */
export type Outcome = { readonly ok: true } | { readonly ok: false; readonly error: SerializedError };

export type RankMessage =
  | { readonly type: 'phase'; readonly phase: RankPhase }
  | { readonly type: 'event'; readonly event: PipelineEvent }
  /** From the main thread, once a second. `waitingFor`: the exchange the rank waits in. */
  | { readonly type: 'heartbeat'; readonly waitingFor: string | null }
  /** One image of a benchmark. */
  | { readonly type: 'sample'; readonly image: number; readonly seconds: number }
  | { readonly type: 'metrics'; readonly metrics: MetricsSnapshot }
  | { readonly type: 'trace'; readonly spans: readonly TraceSpan[] }
  | { readonly type: 'log'; readonly level: LogLevel; readonly message: string; readonly fields: LogFields }
  | { readonly type: 'outcome'; readonly outcome: Outcome };

export const heartbeatIntervalMs = 1_000;
