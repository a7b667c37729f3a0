/** What `sdxl-operator` is started with: options, and the variables behind them. Everything is checked here, once. */
import { Command, CommanderError, Option } from 'commander';
import type { LogLevel } from './controller/index.js';
import type { Address } from './serve.js';

export interface RunOptions {
  readonly command: 'run';
  readonly namespace: string | undefined;
  readonly leaderElect: boolean;
  readonly leaderElectionNamespace: string | undefined;
  /** Undefined: not served. */
  readonly metrics: Address | undefined;
  readonly health: Address | undefined;
  readonly runtimeImage: string;
  readonly acceleratorImage: string;
  readonly tokenKeyFile: string | undefined;
  readonly concurrency: number;
  readonly qps: number;
  readonly logLevel: LogLevel;
  readonly logFormat: 'json' | 'text';
  readonly kubeconfig: string | undefined;
}

export interface RenderOptions {
  readonly command: 'render';
  readonly file: string;
  readonly namespace: string | undefined;
  readonly runtimeImage: string;
  readonly acceleratorImage: string;
}

export type Options = RunOptions | RenderOptions;

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Parsed {
  readonly namespace?: string;
  readonly leaderElect: boolean;
  readonly leaderElectionNamespace?: string;
  readonly metricsBindAddress: string;
  readonly healthBindAddress: string;
  readonly runtimeImage: string;
  readonly acceleratorImage: string;
  readonly tokenKeyFile?: string;
  readonly concurrency: string;
  readonly qps: string;
  readonly logLevel: LogLevel;
  readonly logFormat: 'json' | 'text';
  readonly kubeconfig?: string;
  readonly file?: string;
}

type Variables = Readonly<Record<string, string | undefined>>;
type Write = (text: string) => void;

const registry = 'ghcr.io/sdxl-operator';

/** @returns undefined where help or the version was asked for and shown. @throws UsageError */
export function parseOptions(args: readonly string[], variables: Variables, version: string, write: Write): Options | undefined {
  let options: Options | undefined;
  const images = (command: Command): Command =>
    command
      .option(
        '--runtime-image <ref>',
        'image of ranks without accelerator',
        given(variables, 'SDXL_RUNTIME_IMAGE') ?? `${registry}/runtime-cpu:${version}`,
      )
      .option(
        '--accelerator-image <ref>',
        'image of ranks with an accelerator',
        given(variables, 'SDXL_ACCELERATOR_IMAGE') ?? `${registry}/runtime-cuda:${version}`,
      );
  const program = new Command('sdxl-operator')
    .description('Makes the images of SdxlJobs on gangs of pods. Every option, its variable and what it needs: docs/operator.md.')
    .version(version)
    .addHelpText('after', '\nWithout a command it runs, and takes the options of run: sdxl-operator run --help');
  const run = images(program.command('run', { isDefault: true }).description('reconcile until SIGTERM'))
    .option('--namespace <name>', 'watch this namespace only', given(variables, 'SDXL_NAMESPACE'))
    .option(
      '--leader-elect',
      'only the holder of the Lease sdxl-operator reconciles',
      oneOf(variables, 'SDXL_LEADER_ELECT', ['true', 'false']) === 'true',
    )
    .option('--leader-election-namespace <name>', "the Lease's namespace", given(variables, 'POD_NAMESPACE'))
    .option('--metrics-bind-address <host:port>', 'serve /metrics; 0: do not', given(variables, 'SDXL_METRICS_ADDRESS') ?? ':8080')
    .option(
      '--health-bind-address <host:port>',
      'serve /healthz and /readyz; 0: do not',
      given(variables, 'SDXL_HEALTH_ADDRESS') ?? ':8081',
    )
    .option('--token-key-file <file>', "key of the ranks' tokens", given(variables, 'SDXL_TOKEN_KEY_FILE'))
    .option('--concurrency <count>', 'jobs reconciled at once', given(variables, 'SDXL_CONCURRENCY') ?? '8')
    .option('--qps <count>', 'API calls a second, at most', given(variables, 'SDXL_QPS') ?? '50')
    .addOption(level(variables))
    .addOption(logFormat(variables))
    .option('--kubeconfig <file>', 'how the API server is reached', given(variables, 'KUBECONFIG'))
    .action((parsed: Parsed) => {
      options = runOptions(parsed);
    });
  const render = images(program.command('render').description('print every object that the first attempt of a job would consist of'))
    .requiredOption('-f, --file <file>', 'an SdxlJob in YAML or JSON')
    .option('--namespace <name>', 'namespace of a job that names none')
    .action((parsed: Parsed) => {
      const { file = '', namespace, runtimeImage, acceleratorImage } = parsed;
      options = { command: 'render', file, namespace, runtimeImage, acceleratorImage };
    });
  for (const command of [program, run, render]) {
    command.exitOverride().configureOutput({ writeOut: write, writeErr: write, outputError: () => undefined });
  }
  try {
    program.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    const message = error.message.replace(/^error: /u, '').replace(/\.$/u, '');
    throw new UsageError(`${message}; see sdxl-operator ${args.includes('render') ? 'render' : 'run'} --help`);
  }
  return options;
}

function runOptions(parsed: Parsed): RunOptions {
  const { namespace, leaderElect, leaderElectionNamespace, tokenKeyFile, kubeconfig, logLevel, logFormat: format } = parsed;
  return {
    command: 'run',
    namespace: namespaceName('--namespace', namespace),
    leaderElect,
    leaderElectionNamespace: namespaceName('--leader-election-namespace', leaderElectionNamespace),
    metrics: address('--metrics-bind-address', parsed.metricsBindAddress),
    health: address('--health-bind-address', parsed.healthBindAddress),
    runtimeImage: parsed.runtimeImage,
    acceleratorImage: parsed.acceleratorImage,
    tokenKeyFile,
    concurrency: integer('--concurrency', parsed.concurrency, 1, 256),
    qps: integer('--qps', parsed.qps, 1, 10_000),
    logLevel,
    logFormat: format,
    kubeconfig,
  };
}

function level(variables: Variables): Option {
  const levels = ['error', 'warn', 'info', 'debug'];
  return new Option('--log-level <level>', 'least level that is logged')
    .choices(levels)
    .default(oneOf(variables, 'SDXL_LOG_LEVEL', levels) ?? 'info');
}

function logFormat(variables: Variables): Option {
  const formats = ['json', 'text'];
  return new Option('--log-format <format>', 'form of log lines')
    .choices(formats)
    .default(oneOf(variables, 'SDXL_LOG_FORMAT', formats) ?? 'json');
}

function given(variables: Variables, name: string): string | undefined {
  const value = variables[name]?.trim();
  return value === '' ? undefined : value;
}

function oneOf(variables: Variables, name: string, allowed: readonly string[]): string | undefined {
  const value = given(variables, name);
  if (value === undefined || allowed.includes(value)) return value;
  throw new UsageError(`the environment variable ${name} is ${JSON.stringify(value)}: it must be one of ${allowed.join(', ')}`);
}

/** `:8080`, `127.0.0.1:8080` or `[::1]:8080`; `0` for none. */
function address(option: string, text: string): Address | undefined {
  if (text === '0') return undefined;
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/u.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new UsageError(`${option} is ${JSON.stringify(text)}: it must be HOST:PORT, :PORT or 0`);
  const host = match[1] ?? match[2];
  return { host: host === '' ? undefined : host, port };
}

function namespaceName(option: string, text: string | undefined): string | undefined {
  if (text === undefined || /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/u.test(text)) return text;
  throw new UsageError(`${option} is ${JSON.stringify(text)}: it must be the name of a namespace: a-z, 0-9 and -, at most 63 of them`);
}

function integer(option: string, text: string, minimum: number, maximum: number): number {
  const number = /^\d+$/u.test(text) ? Number(text) : Number.NaN;
  if (number >= minimum && number <= maximum) return number;
  throw new UsageError(`${option} is ${JSON.stringify(text)}: it must be an integer from ${String(minimum)} to ${String(maximum)}`);
}
