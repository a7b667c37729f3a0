/**
 * The life of one rank: open the model → build or find its engines → join the gang → load the engines → compute → part. Knows the
 * parts and their order, and nothing of processes: rank-main.ts owns those.
 */
import { GroupCommunicator, GrpcCommunicator, SingleRank, type Communicator, type Fingerprint } from '../collectives/index.js';
import type { Backend, Engine, RunSpan } from '../engine/index.js';
import { SdxlError, toSdxlError } from '../errors/index.js';
import type { LogFields, LogLevel, RankMetrics, RankPhase } from '../observe/index.js';
import { packageVersion } from '../package-root.js';
import { placeInGang, printMesh, type Replica } from '../parallel/index.js';
import {
  buildEngines,
  contextLength,
  Model,
  Pipeline,
  planComponents,
  runJob,
  type ComponentPlan,
  type PipelineEvent,
  type PipelineObserver,
} from '../pipeline/index.js';
import { createBackend } from './backend.js';
import { jobDigest, meshOf, modelSource, toJobRequest } from './job-request.js';
import type { Assignment } from './messages.js';
import { openImages } from './open-images.js';
import type { RankTrace } from './rank-trace.js';
import { WatchedCommunicator } from './watched-communicator.js';

export interface RankObserver {
  readonly phase: (phase: RankPhase) => void;
  readonly event: (event: PipelineEvent) => void;
  /** One image of a benchmark. */
  readonly sample: (image: number, seconds: number) => void;
  readonly log: (level: LogLevel, message: string, fields?: LogFields) => void;
  readonly metrics: RankMetrics;
  /** Undefined: nobody asks what is done when. */
  readonly trace: RankTrace | undefined;
  /** Told once there is something to watch. */
  readonly joined: (communicator: WatchedCommunicator) => void;
}

/** The watchdog, which knows who stands still, acts at the progress deadline; an exchange's own deadline is the net below it. */
const exchangeSlackMs = 15_000;

/**
 * Does the assignment's task. Rejects with what ended it: this rank's own error, the gang's, or the signal's reason. Everything it
 * opened is closed by then, in this order: peers are told → pipeline → backend (waits for the native call in flight) →
 * communicator → model.
 */
export async function runRank(assignment: Assignment, observer: RankObserver, signal: AbortSignal): Promise<void> {
  const { job, rank, cacheDirectory } = assignment;
  const startedAt = Date.now();
  observer.phase('building');
  await using model = await Model.open(modelSource(job.spec.model));
  const { height, width, guidanceScale, clipSkip } = job.spec;
  const mesh = meshOf(job.spec);
  const replica = placeInGang(mesh, rank);
  const tokens = contextLength(model, toJobRequest(job).first);
  const size = { height, width, tokens, guided: Number(guidanceScale) > 1 };
  const plan = planComponents(model, mesh, replica.rank, size, { clipSkip });
  const prepared = await prepare(assignment, model, plan, observer, signal);
  if (assignment.task.kind === 'build') {
    for (const engine of prepared.engines.values()) observer.event({ type: 'engine', ...engine, loadSeconds: 0 });
    return;
  }
  const modelDigest = await model.digest(cacheDirectory);
  const fingerprint: Fingerprint = {
    version: packageVersion,
    modelDigest,
    backend: prepared.backend.name,
    dtype: prepared.backend.dtype,
    mesh: printMesh(mesh),
    plan: plan.digest,
    job: jobDigest(job.spec),
  };
  observer.phase('joining');
  const communicator = await join(assignment, fingerprint, startedAt, observer, signal);
  observer.joined(communicator);
  const either = AbortSignal.any([signal, communicator.failed]);
  const tellPeers = (): void => {
    void communicator.abort(toSdxlError(signal.reason));
  };
  // Peers hear of the end now, not once this rank has drained.
  signal.addEventListener('abort', tellPeers, { once: true });
  try {
    await compute({ assignment, replica, model, modelDigest, plan, prepared, communicator, observer, signal: either });
    // Nobody leaves before everybody is done: a rank that waits for one that left would take it for dead.
    await communicator.barrier(either);
    await communicator.close();
  } catch (error) {
    const first = communicator.failed.aborted ? toSdxlError(communicator.failed.reason) : toSdxlError(error);
    await communicator.abort(first);
    throw first;
  } finally {
    signal.removeEventListener('abort', tellPeers);
  }
}

interface Prepared {
  readonly backend: Pick<Backend, 'name' | 'dtype'>;
  readonly engines: ReadonlyMap<string, { readonly component: string } & Pick<Engine, 'cached' | 'buildSeconds'>>;
}

/** Before joining, so that the gang waits for nobody's build. */
async function prepare(
  assignment: Assignment,
  model: Model,
  plan: ComponentPlan,
  observer: RankObserver,
  signal: AbortSignal,
): Promise<Prepared> {
  await using scope = new ClosingScope(observer);
  const backend = scope.own(await openBackend(assignment, new SingleRank(), observer));
  const engines = new Map<string, { readonly component: string } & Pick<Engine, 'cached' | 'buildSeconds'>>();
  const onEngine = ({ component, cached, buildSeconds }: Engine): void => {
    engines.set(component.graph.name, { component: component.graph.name, cached, buildSeconds });
    if (!cached) observer.log('info', `built the engine of ${component.graph.name} in ${buildSeconds.toFixed(2)} s`);
  };
  await model.materialize({
    cacheDirectory: assignment.cacheDirectory,
    dtype: backend.dtype === 'f16' ? 'f16' : 'f32',
    signal,
    onNote: (note) => {
      observer.log('info', note);
    },
  });
  await buildEngines(plan.components, backend, onEngine, signal);
  return { backend: { name: backend.name, dtype: backend.dtype }, engines };
}

async function join(
  assignment: Assignment,
  fingerprint: Fingerprint,
  startedAt: number,
  observer: RankObserver,
  signal: AbortSignal,
): Promise<WatchedCommunicator> {
  const { rank, worldSize, meeting, job } = assignment;
  if (meeting === undefined) return new WatchedCommunicator(new SingleRank());
  const { host, port, listenHost, token, tls } = meeting;
  const { rendezvousTimeoutSeconds, progressDeadlineSeconds } = job.spec;
  const communicator = await GrpcCommunicator.open({
    rank,
    worldSize,
    coordinator: { host, port },
    listen: { host: listenHost, port: 0 },
    token,
    ...(tls === undefined ? {} : { tls }),
    fingerprint,
    timeouts: {
      // The contract's timeout includes the build.
      rendezvousMs: Math.max(1_000, rendezvousTimeoutSeconds * 1000 - (Date.now() - startedAt)),
      exchangeMs: progressDeadlineSeconds * 1000 + exchangeSlackMs,
    },
    observer: observer.metrics,
    onRefused: (from) => {
      observer.log(
        'warn',
        `a caller from ${from} was refused, it does not know the job's token: if it is a rank of this job, give it the same SDXL_JOB_TOKEN_FILE`,
        { from },
      );
    },
    signal,
  });
  const { trace } = observer;
  if (trace === undefined) return new WatchedCommunicator(communicator);
  return new WatchedCommunicator(communicator, (...ended) => {
    trace.exchange(...ended);
  });
}

interface Computation {
  readonly assignment: Assignment;
  readonly replica: Replica;
  readonly model: Model;
  readonly modelDigest: string;
  readonly plan: ComponentPlan;
  readonly prepared: Prepared;
  readonly communicator: Communicator;
  readonly observer: RankObserver;
  readonly signal: AbortSignal;
}

async function compute(computation: Computation): Promise<void> {
  await using scope = new ClosingScope(computation.observer);
  try {
    await computeIn(scope, computation);
  } catch (error) {
    const { communicator } = computation;
    // Before anything is closed: that may wait for operations of the device which wait for a peer.
    await communicator.abort(toSdxlError(error));
    throw error;
  }
}

async function computeIn(scope: ClosingScope, computation: Computation): Promise<void> {
  const { assignment, replica, model, modelDigest, plan, prepared, communicator, observer, signal } = computation;
  const { task, job } = assignment;
  const mesh = meshOf(job.spec);
  observer.phase('loading');
  const group = replica.members.length === communicator.worldSize ? communicator : new GroupCommunicator(communicator, replica.members);
  const backend = scope.own(await openBackend(assignment, group, observer));
  // Loading finds every engine in the cache; whether and how long it was built is known from before.
  const onEvent: PipelineObserver = (event) => {
    observer.event(event.type === 'engine' ? { ...event, ...prepared.engines.get(event.component) } : event);
  };
  const { rank } = replica;
  const pipeline = scope.own(await Pipeline.load({ model, components: plan.components, backend, mesh, rank, observer: onEvent, signal }));
  observer.phase('running');
  const request = toJobRequest(job);
  if (task.kind === 'bench') {
    for (let image = 0; image < task.images; image++) {
      const started = performance.now();
      await pipeline.generate(request.first, { image, signal });
      observer.sample(image, (performance.now() - started) / 1000);
    }
  } else {
    const resume = task.kind === 'run' && task.resume;
    // Ranks that write nothing need not load what uploads.
    const output = replica.rank === 0 ? job.spec : { ...job.spec, output: { path: job.spec.output.path } };
    await using opened = await openImages(output, assignment.cacheDirectory, (message) => {
      observer.log('warn', message);
    });
    const { images } = opened;
    await runJob(pipeline, request, { model, modelDigest, mesh, backend, communicator, images, resume, observer: onEvent, signal });
  }
  observer.phase('closing');
}

async function openBackend(
  { job, cacheDirectory, threads, cuda }: Assignment,
  communicator: Communicator,
  observer: RankObserver,
): Promise<Backend> {
  const onDamage = (reason: string): void => {
    observer.log('warn', `a cached engine is damaged and is built again: ${reason}`);
  };
  const { trace } = observer;
  const onSpans =
    trace === undefined
      ? undefined
      : (spans: readonly RunSpan[]): void => {
          trace.run(spans);
        };
  return createBackend(job.spec.backend, { cacheDirectory, threads, communicator, onDamage, onSpans, ...cuda });
}

/** Closes what it owns in reverse order. What fails to close is logged: it must not hide why it was closed. */
class ClosingScope implements AsyncDisposable {
  readonly #owned: { close(): Promise<void> }[] = [];
  readonly #observer: RankObserver;

  constructor(observer: RankObserver) {
    this.#observer = observer;
  }

  own<T extends { close(): Promise<void> }>(part: T): T {
    this.#owned.push(part);
    return part;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of this.#owned.reverse()) {
      try {
        await part.close();
      } catch (error) {
        this.#observer.log('debug', `${part.constructor.name} did not close cleanly: ${toSdxlError(error).message}`);
      }
    }
  }
}

/** Why a rank ends that was told to. */
export function stopped(why: string): SdxlError {
  return new SdxlError('CANCELLED', why);
}
