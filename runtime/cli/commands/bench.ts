/** `sdxl bench`: the latency of one image on different numbers of ranks. Ranks load once for each number and make the image again and again. */
import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import type { SdxlJob } from '../../../crds/index.js';
import { SdxlError } from '../../errors/index.js';
import { resolveBackend, type LocalJob, type RankMessage } from '../../launch/index.js';
import { packageFile, packageVersion } from '../../package-root.js';
import { summarizeLatencies, type LatencySummary } from '../bench-statistics.js';
import { compare, printComparison, printDegrees } from '../comparison.js';
import type { Context } from '../context.js';
import { follow, type RunOptions } from '../follow.js';
import {
  addBackendOption,
  addImageOptions,
  addModelOption,
  addModeOptions,
  addSizeOptions,
  jobFromOptions,
  type JobOptions,
} from '../job-options.js';
import { integerIn, integers, integer, ratio } from '../numbers.js';
import { addRunOptions, examples } from '../options.js';
import { StepStatistics, type StepSummary } from '../step-statistics.js';
import { table } from '../table.js';

interface Options extends RunOptions, Omit<JobOptions, 'ranks' | 'patchDegree'> {
  readonly ranks: readonly number[];
  readonly numWarmupRuns: number;
  readonly avgRuns: number;
  readonly ignoreRatio: number;
  readonly json?: boolean;
  readonly compare?: boolean;
}

interface Result {
  readonly ranks: number;
  readonly mesh: SdxlJob['spec']['parallelism'];
  readonly threadsPerRank: number;
  readonly latency: LatencySummary;
  readonly speedUp: number;
  /** Of all replicas together. */
  readonly imagesPerSecond: number;
  readonly step: StepSummary | null;
  /** Every counted run, in order. */
  readonly seconds: readonly number[];
}

export function addBenchCommand(program: Command, context: Context): void {
  const command = program
    .command('bench')
    .summary('measure latency')
    .description(
      'Measures the latency of one image, encoding and decoding included, on each number of ranks. The latency shown is a trimmed mean: of the measured runs ' +
        'the fastest and the slowest ignore-ratio / 2 are dropped. Speed-up is against the first number of ranks. Without --model the small SDXL that ships is measured.',
    );
  addModelOption(command);
  addSizeOptions(command);
  command.option('-n, --ranks <counts>', 'numbers of ranks to compare', integers, [1]);
  command.option(
    '--data-degree <count>',
    'images made at once, each on ranks of its own, where their number is a multiple of it (default: 1)',
    integerIn(1, 64),
  );
  command.option('--cfg-degree <1|2>', '2: guidance branches on different ranks, where their number is even (default: 1)', integer);
  addModeOptions(command);
  addImageOptions(command);
  addBackendOption(command);
  command.option('--num-warmup-runs <count>', 'images made before measuring', integerIn(0, 10_000), 5);
  command.option('--avg-runs <count>', 'images measured', integerIn(1, 10_000), 20);
  command.option('--ignore-ratio <ratio>', 'share of the measured runs to drop, half of it at each end', ratio, 0.2);
  command.option('--compare', 'make images on every mesh of -n in every mode, and tell their likeness to those of one rank');
  command.option('--json', 'print the result as JSON');
  addRunOptions(command);
  command.addHelpText(
    'after',
    examples(
      'sdxl bench --model ./sdxl-base --size 1024 -n 1,2',
      'sdxl bench --size 256 -n 1,2,4 --threads 1 --json',
      'sdxl bench --size 256 -n 1,2 --data-degree 2',
      'sdxl bench --size 256 -n 2 --compare --avg-runs 5',
    ),
  );
  command.action(async (options: Options) => {
    if (context.environment.gang !== undefined) {
      throw new SdxlError('USAGE', 'sdxl bench starts its own ranks: unset RANK, NODE_RANK and WORLD_SIZE', { fields: { option: '-n' } });
    }
    await bench(context, {
      ...options,
      model: options.model ?? packageFile('models/tiny-sdxl'),
      prompt: options.prompt ?? 'flowers, rabbit',
    });
  });
}

async function bench(context: Context, options: Options): Promise<void> {
  if (options.compare === true) {
    const results = await compare(context, options);
    // JSON has no infinity.
    const finite = results.map((row) => ({ ...row, worstDecibels: decibels(row.worstDecibels), meanDecibels: decibels(row.meanDecibels) }));
    context.stdout.write(
      options.json === true
        ? `${JSON.stringify({ version: packageVersion, results: finite }, null, 2)}\n`
        : printComparison(results, options.numWarmupRuns + options.avgRuns),
    );
    return;
  }
  // All are checked before the first is measured.
  const jobs = options.ranks.map((ranks) => jobFor(ranks, options, context));
  const results: Result[] = [];
  for (const { ranks, job } of jobs) results.push(await measure(context, ranks, job, options, results[0]));
  const [first] = jobs;
  if (first === undefined) return;
  const { spec } = first.job;
  const resolution = `${String(spec.width)}x${String(spec.height)}`;
  if (options.json === true) {
    const { numWarmupRuns, avgRuns, ignoreRatio } = options;
    const document = {
      framework: frameworkOf(spec.backend),
      version: packageVersion,
      node: process.version,
      processors: availableParallelism(),
      model: spec.model.path,
      resolution,
      numInferenceSteps: spec.numInferenceSteps,
      guidanceScale: spec.guidanceScale,
      numWarmupRuns,
      avgRuns,
      ignoreRatio,
      results,
    };
    context.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    return;
  }
  context.stdout.write(printResults(results, resolution, frameworkOf(spec.backend)));
}

function decibels(value: number): number | 'equal' {
  return value === Infinity ? 'equal' : value;
}

function jobFor(
  ranks: number,
  { dataDegree = 1, cfgDegree = 1, mode, ...options }: Options,
  { environment }: Context,
): { readonly ranks: number; readonly job: LocalJob } {
  const data = ranks % dataDegree === 0 ? dataDegree : 1;
  const cfg = cfgDegree === 2 && (ranks / data) % 2 !== 0 ? 1 : cfgDegree;
  // With one stripe every mode is synchronous.
  const modeHere = mode === undefined || ranks === data * cfg ? {} : { mode };
  return { ranks, job: jobFromOptions({ ...options, ...modeHere, ranks, dataDegree: data, cfgDegree: cfg }, environment) };
}

async function measure(context: Context, ranks: number, job: LocalJob, options: Options, baseline: Result | undefined): Promise<Result> {
  const { numWarmupRuns, avgRuns, ignoreRatio } = options;
  const seconds: number[] = [];
  const statistics = new StepStatistics(0, numWarmupRuns);
  let threadsPerRank = 0;
  await follow(context, {
    task: { kind: 'bench', images: numWarmupRuns + avgRuns },
    job,
    options,
    images: numWarmupRuns + avgRuns,
    onStarting: ({ threads }) => {
      threadsPerRank = threads;
    },
    onMessage: (rank: number, message: RankMessage) => {
      statistics.message(rank, message);
      if (rank === 0 && message.type === 'sample' && message.image >= numWarmupRuns) seconds.push(message.seconds);
    },
  });
  const latency = summarizeLatencies(seconds, ignoreRatio);
  const speedUp = baseline === undefined ? 1 : baseline.latency.trimmedMeanSeconds / latency.trimmedMeanSeconds;
  const imagesPerSecond = job.spec.parallelism.dataDegree / latency.trimmedMeanSeconds;
  return {
    ranks,
    mesh: job.spec.parallelism,
    threadsPerRank,
    latency,
    speedUp,
    imagesPerSecond,
    step: statistics.summary() ?? null,
    seconds,
  };
}

/** As the table names it: what computed. */
function frameworkOf(backend: SdxlJob['spec']['backend']): string {
  return { Onnx: 'sdxl-operator (onnx, cpu)', Cuda: 'sdxl-operator (cuda)' }[resolveBackend(backend)];
}

function printResults(results: readonly Result[], resolution: string, framework: string): string {
  const main = results.map(({ ranks, latency, speedUp, imagesPerSecond }) => [
    framework,
    resolution,
    String(ranks),
    latency.trimmedMeanSeconds.toFixed(3),
    `${speedUp.toFixed(2)}x`,
    imagesPerSecond.toFixed(2),
  ]);
  const details = results.map(({ ranks, mesh, threadsPerRank, latency, step }) => [
    String(ranks),
    printDegrees(mesh),
    String(threadsPerRank),
    latency.medianSeconds.toFixed(3),
    latency.p95Seconds.toFixed(3),
    step === null ? '' : (step.medianSeconds * 1000).toFixed(1),
    step === null ? '' : step.exchangeShare === null ? 'in the graph' : `${(step.exchangeShare * 100).toFixed(1)} %`,
    step === null ? '' : step.exchangesPerStep.toFixed(0),
    step === null ? '' : step.sentBytesPerStep === null ? '–' : (step.sentBytesPerStep / 1e6).toFixed(2),
  ]);
  return [
    table(['framework', 'resolution', 'n', 'latency (s)', 'speed-up', 'images/s'], main),
    '',
    table(['n', 'mesh', 'threads', 'median (s)', 'p95 (s)', 'step (ms)', 'in exchanges', 'exchanges/step', 'MB sent/step'], details),
    '',
  ].join('\n');
}
