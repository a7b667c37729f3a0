/**
 * One attempt at a job on this machine: check everything that can be checked before a rank is started, start this machine's ranks,
 * follow them to their end.
 */
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, isAbsolute, resolve } from 'node:path';
import type { SdxlJob } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { removeDeadTemporaries } from '../image/index.js';
import { gangSize, placeInGang } from '../parallel/index.js';
import { checkJob, imagePath, Model, planComponents } from '../pipeline/index.js';
import { resolveBackend } from './backend.js';
import { readBudget, threadsPerRank } from './budget.js';
import { localIdentity, readIdentity } from './certificates.js';
import type { Environment } from './environment.js';
import { runGang } from './gang.js';
import type { LocalJob, LocalSpec } from './cluster-fields.js';
import { meshOf, modelSource, resolvedModel, toJobRequest } from './job-request.js';
import { checkMemory, type MemoryBudget } from './memory-check.js';
import type { Assignment, RankMessage, Task } from './messages.js';
import { openImages, resolvedOutput } from './open-images.js';
import { randomToken, readToken } from './token.js';

export interface LaunchOptions {
  readonly task: Task;
  readonly job: LocalJob;
  readonly environment: Environment;
  readonly cacheDirectory: string;
  /** Intra-op threads of each rank; undefined: the processors divided by the ranks on this machine. */
  readonly threads: number | undefined;
  /** Undefined: what the machine and its control groups leave. */
  readonly memoryLimitBytes: number | undefined;
  /** Whether ranks shall tell what they do when. */
  readonly traced: boolean;
  readonly observer: LaunchObserver;
  readonly stop: AbortSignal;
  readonly kill: AbortSignal;
}

export interface LaunchObserver {
  /** Everything is checked and the ranks are about to start. */
  readonly starting: (facts: LaunchFacts) => void;
  readonly message: (rank: number, message: RankMessage) => void;
  readonly started: (rank: number, pid: number) => void;
}

export interface LaunchFacts {
  /** This machine's ranks. */
  readonly ranks: readonly number[];
  readonly worldSize: number;
  readonly threads: number;
}

/** Backends that need no device. */
const onProcessor: readonly string[] = ['Onnx'];
/** From the last image to a rank's end: the communicator's own farewell takes at most 10 s. */
const closeMs = 30_000;

/** @throws SdxlError what was found wrong beforehand, the cause that ended the gang, or the reason of `stop`. */
export async function launch(options: LaunchOptions): Promise<void> {
  const { job, task, environment, observer, stop, kill } = options;
  const spec = { ...job.spec, output: resolvedOutput(job.spec, environment) };
  const backend = resolveBackend(spec.backend);
  if (environment.acceleratorRequired && onProcessor.includes(backend)) throw noAccelerator(spec.backend);
  const placement = place(options);
  const budget = readBudget();
  const memory: MemoryBudget =
    options.memoryLimitBytes === undefined
      ? { bytes: budget.memoryBytes, source: budget.memorySource }
      : { bytes: options.memoryLimitBytes, source: '--memory-limit' };
  // A GPU's memory is asked of its driver, by the rank that allocates it.
  await checkModel(options, placement.localRanks, backend === 'Onnx' ? memory : undefined);
  const ranks = Array.from({ length: placement.localRanks }, (_, index) => placement.firstRank + index);
  const mesh = meshOf(spec);
  const writesHere = task.kind === 'run' && ranks.some((rank) => placeInGang(mesh, rank).rank === 0);
  const request = toJobRequest({ name: '', spec });
  const file = writesHere ? await assertWritable(options, spec, imagePath(request, 0)) : undefined;
  const threads = options.threads ?? threadsPerRank(budget, placement.ranksOnHost);
  const meeting = await meet(options, placement);
  stop.throwIfAborted();

  const assignments = ranks.map((rank): Assignment => ({
    task,
    job: { name: jobName(job), spec: { ...spec, model: resolvedModel(spec.model) } },
    rank,
    worldSize: placement.worldSize,
    meeting,
    cacheDirectory: options.cacheDirectory,
    threads,
    cuda: {
      device: rank % placement.ranksOnHost,
      libraryPath: environment.cudaLibraryPath,
      tacticLimit: environment.cudaTactics,
      timingCache: environment.cudaTimingCache,
    },
    gracePeriodMs: environment.gracePeriodMs,
    traced: options.traced,
  }));
  observer.starting({ ranks, worldSize: placement.worldSize, threads });
  try {
    await runGang({
      assignments,
      gracePeriodMs: environment.gracePeriodMs,
      deadlines: {
        heartbeatMs: environment.heartbeatTimeoutMs,
        startMs: spec.rendezvousTimeoutSeconds * 1000,
        progressMs: spec.progressDeadlineSeconds * 1000,
        closeMs,
      },
      onMessage: observer.message,
      onStart: observer.started,
      stop,
      kill,
    });
  } finally {
    // Of ranks that were killed while they wrote.
    if (file !== undefined) await removeDeadTemporaries(dirname(resolve(file)));
  }
}

/** The file that image `path` is first written to. */
async function assertWritable({ cacheDirectory, stop }: LaunchOptions, spec: LocalSpec, path: string): Promise<string> {
  // One attempt: whoever mistyped an address shall not wait for it.
  await using opened = await openImages(spec, cacheDirectory, () => undefined);
  await opened.images.assertWritable(path, stop);
  return opened.images.fileOf(path);
}

export function jobName({ metadata }: SdxlJob): string {
  return metadata.name ?? metadata.generateName ?? 'sdxl';
}

function noAccelerator(requested: string): SdxlError {
  return new SdxlError(
    'BACKEND_UNAVAILABLE',
    `a device was asked for (SDXL_ACCELERATOR), and backend ${requested} would compute on the processor here: give the container its device, or ask for none`,
    { fields: { requested } },
  );
}

interface Placement {
  readonly firstRank: number;
  readonly localRanks: number;
  readonly ranksOnHost: number;
  readonly worldSize: number;
}

function place({ job, task, environment: { gang } }: LaunchOptions): Placement {
  const mesh = meshOf(job.spec);
  const world = gangSize(mesh);
  // One build serves every rank.
  if (task.kind === 'build') return { firstRank: 0, localRanks: 1, ranksOnHost: 1, worldSize: 1 };
  if (gang === undefined) return { firstRank: 0, localRanks: world, ranksOnHost: world, worldSize: world };
  if (gang.worldSize !== world) {
    throw new SdxlError(
      'MESH_INVALID',
      `WORLD_SIZE is ${String(gang.worldSize)}, and the job has ${String(world)} ranks ` +
        `(dataDegree ${String(mesh.data)} × cfgDegree ${String(mesh.cfg)} × patchDegree ${String(mesh.patch)})`,
      { fields: { worldSize: gang.worldSize, dataDegree: mesh.data, cfgDegree: mesh.cfg, patchDegree: mesh.patch } },
    );
  }
  return gang;
}

/** What diffusers takes for a repository of the Hub. */
const repositoryName = /^[\w-][\w.-]*\/[\w-][\w.-]*$/u;

/** As `Model.open`; where the model is not found, the error also says where a relative path led, and how one of the Hub comes to be there. */
export async function openModel(model: LocalSpec['model']): Promise<Model> {
  try {
    return await Model.open(modelSource(model));
  } catch (error) {
    if (!(error instanceof SdxlError) || error.code !== 'MODEL_NOT_FOUND') throw error;
    const path = [model.path, model.configFrom, model.tokenizer].find((each) => each !== undefined && error.message.startsWith(each));
    if (path === undefined || isAbsolute(path)) throw error;
    const directory = resolve(path);
    const fetching = existsSync(directory) ? '' : fetchAdvice(path);
    throw new SdxlError(error.code, `${error.message}; resolved against the working directory, ${path} is ${directory}${fetching}`, {
      fields: { ...error.fields, directory },
      cause: error.cause,
    });
  }
}

/** How a model that is named as elsewhere comes to be here. */
function fetchAdvice(path: string): string {
  if (path.startsWith('s3://')) return `; fetch it first: sdxl fetch --s3 ${path} --output DIR`;
  const [, ofPage] = /^https?:\/\/huggingface\.co\/([^/]+\/[^/]+)/u.exec(path) ?? [];
  if (ofPage !== undefined) return `; fetch it first: sdxl fetch --repo ${ofPage} --output ${ofPage}`;
  return repositoryName.test(path) ? `; if it is a repository of the Hugging Face Hub: sdxl fetch --repo ${path} --output ${path}` : '';
}

async function checkModel({ job, task }: LaunchOptions, localRanks: number, memory: MemoryBudget | undefined): Promise<void> {
  const { spec } = job;
  await using model = await openModel(spec.model);
  checkJob(model, toJobRequest({ name: '', spec }), meshOf(spec));
  if (task.kind === 'build' || memory === undefined) return;
  const { components } = planComponents(model, meshOf(spec), 0, undefined, spec);
  checkMemory(model, components, spec, localRanks, memory);
}

async function meet({ environment }: LaunchOptions, placement: Placement): Promise<Assignment['meeting']> {
  const { gang, tokenFile, tlsDirectory, localTls } = environment;
  if (placement.worldSize === 1) return undefined;
  const given = tlsDirectory === undefined ? undefined : await readIdentity(tlsDirectory);
  if (gang === undefined) {
    const tls = given ?? (localTls ? await localIdentity() : undefined);
    return { host: '127.0.0.1', port: await freePort(), listenHost: '127.0.0.1', token: randomToken(), tls };
  }
  const { masterAddress: host, masterPort: port, listenHost } = gang;
  return { host, port, listenHost, token: await readToken(tokenFile), tls: given };
}

/** A port of the loopback interface that nobody listens on now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', listening);
  });
  const address = server.address();
  await new Promise<void>((closed) => {
    server.close(() => {
      closed();
    });
  });
  if (typeof address !== 'object' || address === null) throw new Error('a TCP server has no port');
  return address.port;
}
