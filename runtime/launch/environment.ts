/**
 * The one place that reads the environment. Everything is parsed and checked once, at the start, and passed on as arguments;
 * docs/cli.md lists the names. RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT mean what they mean to torchrun.
 */
import { accessSync, constants } from 'node:fs';
import { isIP, isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { logFormats, logLevels, type LogFormat, type LogLevel } from '../observe/index.js';

/** A gang that spans several launchers: where this one's ranks stand in it, and where rank 0 is met. */
export interface GangEnvironment {
  /** The first of this launcher's ranks. */
  readonly firstRank: number;
  /** How many ranks this launcher starts. */
  readonly localRanks: number;
  /** How many ranks share this machine's processors: at least `localRanks`. */
  readonly ranksOnHost: number;
  readonly worldSize: number;
  readonly masterAddress: string;
  readonly masterPort: number;
  /** Address on which ranks serve their peers. */
  readonly listenHost: string;
}

export interface Environment {
  /** Undefined where nobody placed this process in a gang: then all ranks are local. */
  readonly gang: GangEnvironment | undefined;
  /** File with the gang's shared secret; undefined: a local gang makes its own. */
  readonly tokenFile: string | undefined;
  /** Folder with the gang's certificates; undefined: connections are plain, or a local gang makes its own. */
  readonly tlsDirectory: string | undefined;
  /** Whether a local gang, which meets on the loopback interface, encrypts its connections. */
  readonly localTls: boolean;
  readonly cacheDirectory: string;
  /** Folders where NVIDIA's libraries are looked for first, separated by `:`. */
  readonly cudaLibraryPath: string | undefined;
  /** Somebody gave this process a device: to compute on the processor would waste it. */
  readonly acceleratorRequired: boolean;
  /** Access token of the Hugging Face Hub. */
  readonly hubToken: string | undefined;
  /** Where object storage is, for jobs that do not say so. The client library itself finds the credentials. */
  readonly objectStorage: { readonly endpoint: string | undefined; readonly region: string | undefined };
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** Undefined: no HTTP server. 0: any free port. */
  readonly metricsPort: number | undefined;
  readonly metricsHost: string;
  /** How long a rank's main thread may be silent before it is taken for hung. */
  readonly heartbeatTimeoutMs: number;
  /** How long ranks are given to end by themselves before they are killed. */
  readonly gracePeriodMs: number;
  /** Tactics timed for each problem of a CUDA engine; 1 takes the libraries' first choices. */
  readonly cudaTactics: number;
  /** File of tactics timed before, here or on an equal machine, which builds read and add to. */
  readonly cudaTimingCache: string | undefined;
}

type Variables = Readonly<Record<string, string | undefined>>;

const defaultMasterPort = 29_500;
const defaultTerminationLog = '/dev/termination-log';
const maxRanks = 64;

/** @throws SdxlError USAGE naming the variable, its value and what is allowed. */
export function readEnvironment(variables: Variables = process.env): Environment {
  const environment: Environment = {
    gang: readGang(variables),
    tokenFile: text(variables, 'SDXL_JOB_TOKEN_FILE'),
    tlsDirectory: text(variables, 'SDXL_TLS_DIR'),
    localTls: oneOf(variables, 'SDXL_LOCAL_TLS', ['on', 'off']) === 'on',
    cacheDirectory: resolve(
      text(variables, 'SDXL_CACHE_DIR') ?? join(text(variables, 'XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'sdxl-operator'),
    ),
    cudaLibraryPath: text(variables, 'SDXL_CUDA_LIBRARY_PATH'),
    acceleratorRequired: oneOf(variables, 'SDXL_ACCELERATOR', ['required', 'optional']) === 'required',
    hubToken: text(variables, 'HF_TOKEN'),
    objectStorage: {
      endpoint: text(variables, 'AWS_ENDPOINT_URL_S3') ?? text(variables, 'AWS_ENDPOINT_URL'),
      region: text(variables, 'AWS_REGION') ?? text(variables, 'AWS_DEFAULT_REGION'),
    },
    logLevel: oneOf(variables, 'SDXL_LOG_LEVEL', logLevels) ?? 'info',
    logFormat: oneOf(variables, 'SDXL_LOG_FORMAT', logFormats) ?? 'text',
    metricsPort: integer(variables, 'SDXL_METRICS_PORT', 0, 65_535),
    metricsHost: text(variables, 'SDXL_METRICS_HOST') ?? '127.0.0.1',
    heartbeatTimeoutMs: (integer(variables, 'SDXL_HEARTBEAT_TIMEOUT_SECONDS', 2, 3600) ?? 20) * 1000,
    gracePeriodMs: (integer(variables, 'SDXL_GRACE_PERIOD_SECONDS', 1, 3600) ?? 10) * 1000,
    cudaTactics: integer(variables, 'SDXL_CUDA_TACTICS', 1, 256) ?? 48,
    cudaTimingCache: text(variables, 'SDXL_CUDA_TIMING_CACHE'),
  };
  return Object.freeze(environment);
}

/** Where Kubernetes reads why a container ended, also where the rest of the environment is not valid; undefined outside a container. */
export function terminationLogPath(variables: Variables = process.env): string | undefined {
  return text(variables, 'TERMINATION_LOG') ?? (isWritable(defaultTerminationLog) ? defaultTerminationLog : undefined);
}

function readGang(variables: Variables): GangEnvironment | undefined {
  const worldSize = integer(variables, 'WORLD_SIZE', 1, maxRanks);
  const rank = integer(variables, 'RANK', 0, maxRanks - 1);
  const nodeRank = integer(variables, 'NODE_RANK', 0, maxRanks - 1);
  const localWorldSize = integer(variables, 'LOCAL_WORLD_SIZE', 1, maxRanks);
  const localRank = integer(variables, 'LOCAL_RANK', 0, maxRanks - 1);
  if (worldSize === undefined) {
    const stray = (['RANK', 'NODE_RANK'] as const).find((name) => text(variables, name) !== undefined);
    if (stray !== undefined) throw usage('WORLD_SIZE', undefined, `the number of ranks of the gang, because ${stray} is set`);
    return undefined;
  }
  if (rank === undefined && nodeRank === undefined) {
    if (worldSize === 1) return undefined;
    throw usage('RANK', undefined, `0…${worldSize - 1}, or NODE_RANK with LOCAL_WORLD_SIZE, because WORLD_SIZE is ${worldSize}`);
  }
  const ranksOnHost = localWorldSize ?? 1;
  if (localRank !== undefined && localRank >= ranksOnHost)
    throw usage('LOCAL_RANK', String(localRank), `less than LOCAL_WORLD_SIZE, ${ranksOnHost}`);
  // RANK places one rank that somebody else started; NODE_RANK places a launcher that starts LOCAL_WORLD_SIZE of them.
  const placed =
    rank === undefined ? { firstRank: (nodeRank ?? 0) * ranksOnHost, localRanks: ranksOnHost } : { firstRank: rank, localRanks: 1 };
  if (placed.firstRank + placed.localRanks > worldSize) {
    const last = placed.firstRank + placed.localRanks - 1;
    throw rank === undefined
      ? usage(
          'NODE_RANK',
          String(nodeRank),
          `such that rank ${last} (NODE_RANK × LOCAL_WORLD_SIZE + LOCAL_WORLD_SIZE − 1) is less than WORLD_SIZE, ${worldSize}`,
        )
      : usage('RANK', String(rank), `less than WORLD_SIZE, ${worldSize}`);
  }
  const masterAddress = text(variables, 'MASTER_ADDR') ?? (placed.localRanks === worldSize ? '127.0.0.1' : undefined);
  if (masterAddress === undefined) throw usage('MASTER_ADDR', undefined, 'the name or address of the machine that runs rank 0');
  if (isIP(masterAddress) === 0 && /[[\]:/@\s]/u.test(masterAddress)) {
    throw usage(
      'MASTER_ADDR',
      masterAddress,
      'the name or address of the machine that runs rank 0, without brackets; the port is MASTER_PORT',
    );
  }
  return {
    ...placed,
    ranksOnHost,
    worldSize,
    masterAddress,
    masterPort: integer(variables, 'MASTER_PORT', 1, 65_535) ?? defaultMasterPort,
    listenHost: text(variables, 'SDXL_LISTEN_ADDR') ?? listenHostFor(masterAddress),
  };
}

/** Loopback where rank 0 is met there, else every address of the family rank 0 is met by. */
function listenHostFor(masterAddress: string): string {
  if (masterAddress === '::1') return '::1';
  if (isIPv6(masterAddress)) return '::';
  return masterAddress === 'localhost' || masterAddress.startsWith('127.') ? '127.0.0.1' : '0.0.0.0';
}

function text(variables: Variables, name: string): string | undefined {
  const value = variables[name]?.trim();
  return value === '' ? undefined : value;
}

function integer(variables: Variables, name: string, minimum: number, maximum: number): number | undefined {
  const value = text(variables, name);
  if (value === undefined) return undefined;
  const number = /^\d{1,9}$/u.test(value) ? Number(value) : Number.NaN;
  if (number >= minimum && number <= maximum) return number;
  throw usage(name, value, `an integer from ${minimum} to ${maximum}`);
}

function oneOf<const T extends string>(variables: Variables, name: string, allowed: readonly T[]): T | undefined {
  const value = text(variables, name);
  if (value === undefined) return undefined;
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw usage(name, value, `one of ${allowed.join(', ')}`);
  return found;
}

function usage(name: string, value: string | undefined, allowed: string): SdxlError {
  const found = value === undefined ? 'is not set' : `is ${JSON.stringify(value)}`;
  return new SdxlError('USAGE', `the environment variable ${name} ${found}: it must be ${allowed}`, {
    fields: { variable: name, ...(value === undefined ? {} : { value }), allowed },
  });
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false; // Absent, or not ours: there is nowhere to write to.
  }
}
