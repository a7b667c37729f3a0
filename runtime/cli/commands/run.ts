/** `sdxl run`: makes a job's images, from a file or from options. */
import type { Command } from 'commander';
import { imageCount } from '../../../crds/index.js';
import { SdxlError, toSdxlError } from '../../errors/index.js';
import { formatBytes, terminationLogPath, writeRunSummary, type LocalJob, type RankMessage } from '../../launch/index.js';
import { summarizeSeconds } from '../../observe/index.js';
import type { PipelineEvent } from '../../pipeline/index.js';
import type { Context } from '../context.js';
import { follow, type RunOptions } from '../follow.js';
import { readJobFile } from '../job-file.js';
import { readPrompts } from '../prompts-file.js';
import {
  addBackendOption,
  addImageOptions,
  addMeshKindOption,
  addMeshOptions,
  addModeOptions,
  addModelOption,
  addSizeOptions,
  jobFromOptions,
  refuseJobOptions,
  type JobOptions,
} from '../job-options.js';
import { integer, once } from '../numbers.js';
import { addRunOptions, examples } from '../options.js';
import { StepStatistics, type StepSummary } from '../step-statistics.js';
import { table } from '../table.js';

type Options = RunOptions & JobOptions & { readonly file?: string; readonly local?: boolean; readonly resume?: boolean };
type ImageEvent = Extract<PipelineEvent, { type: 'image' }>;

export function addRunCommand(program: Command, context: Context): void {
  const command = program
    .command('run')
    .summary('make images')
    .description('Makes the images of a job and reports the latency of each stage. The job is a file (-f) or is made from the options.')
    .option('-f, --file <file>', 'SdxlJob in YAML or JSON; - reads the standard input', once);
  addModelOption(command);
  addSizeOptions(command);
  addImageOptions(command);
  command.option(
    '--prompts <file>',
    'several prompts: .txt, one a line; .yaml, .json or .jsonl, each a text or fields such as prompt and seed',
    once,
  );
  command.option('--num-images <count>', 'images of each prompt, with the seeds seed, seed + 1, … (default: 1)', integer);
  command.option('--output <file>', 'PNG to write, or s3://bucket/prefix, with a JSON of its parameters beside it (default: output.png)');
  command.option('--output-endpoint <url>', "where object storage other than Amazon's is served (default: AWS_ENDPOINT_URL)", once);
  addMeshOptions(command);
  addMeshKindOption(command);
  addModeOptions(command);
  addBackendOption(command);
  command.option(
    '--resume',
    'keep images that an earlier attempt has completed (default with several prompts, and in a gang that others start)',
  );
  command.option('--no-resume', 'make every image anew');
  command.option(
    '--local',
    'with -f: run all ranks here and leave out what places the job in a cluster (pods, claims, deadlines of the operator)',
  );
  addRunOptions(command);
  command.option(
    '--trace <file>',
    'write what each rank here computes, sends and waits for when, to look at with Perfetto or chrome://tracing',
    once,
  );
  command.addHelpText(
    'after',
    examples(
      'sdxl run -f manifests/samples/sdxljob.yaml',
      'sdxl run --model ./sdxl-base --size 1024 --prompt "flowers, rabbit" -n 2 --seed 233 --output output.png',
      'WORLD_SIZE=2 RANK=0 MASTER_ADDR=10.0.0.1 SDXL_JOB_TOKEN_FILE=token sdxl run -f job.yaml',
    ),
  );
  command.action(async (options: Options) => {
    await run(context, await jobOf(command, options, context), options);
  });
}

async function jobOf(command: Command, options: Options, { environment, stop }: Context): Promise<LocalJob> {
  if (options.file === undefined && options.local === true) {
    throw new SdxlError('USAGE', '--local is about fields of a file: give one with -f', { fields: { option: '--local' } });
  }
  if (options.file === undefined) {
    const prompts = options.prompts === undefined ? undefined : await readPrompts(options.prompts, stop);
    return jobFromOptions(options, environment, prompts);
  }
  refuseJobOptions(command, options.file);
  return readJobFile(options.file, stop, { placed: options.local === true });
}

async function run(context: Context, job: LocalJob, options: Options): Promise<void> {
  const images: ImageEvent[] = [];
  let runningSince: number | undefined;
  let wallSeconds = 0;
  const resume = options.resume ?? (context.environment.gang !== undefined || job.spec.prompts !== undefined);
  const first = context.environment.gang?.firstRank ?? 0;
  const statistics = new StepStatistics(first);
  await follow(context, {
    task: { kind: 'run', resume },
    job,
    options,
    images: imageCount(job.spec),
    onMessage: (rank: number, message: RankMessage) => {
      statistics.message(rank, message);
      if (message.type === 'phase' && message.phase === 'running') runningSince ??= performance.now();
      if (message.type !== 'event' || message.event.type !== 'image') return;
      images.push(message.event);
      if (runningSince !== undefined) wallSeconds = (performance.now() - runningSince) / 1000;
    },
  });
  if (images.length > 0) context.stdout.write(report(images, statistics.summary(), wallSeconds));
  if (first === 0) await tellContainer(images, context);
}

/** What the images took, where Kubernetes keeps a container's last words. */
async function tellContainer(images: readonly ImageEvent[], { stderr }: Context): Promise<void> {
  const path = terminationLogPath();
  if (path === undefined) return;
  const samples = images.filter(({ skipped }) => !skipped).map(({ seconds }) => seconds);
  const summary = { images: images.length, imagesWritten: samples.length, latencySeconds: summarizeSeconds(samples), samples };
  try {
    await writeRunSummary(path, summary);
  } catch (failure) {
    // The images are made: what is missing are words about them.
    stderr.write(`the termination log could not be written: ${toSdxlError(failure).message}\n`);
  }
}

/** Latency by stage, then the path of each image in a line of its own. */
function report(images: readonly ImageEvent[], steps: StepSummary | undefined, wallSeconds: number): string {
  const made = images.filter(({ skipped }) => !skipped);
  const lines: string[] = [];
  if (made.length > 0) {
    const mean = (of: (image: ImageEvent) => number): string => (made.reduce((sum, image) => sum + of(image), 0) / made.length).toFixed(3);
    const stages = ['encode', 'denoise', 'decode', 'write'] as const;
    const rows = stages.map((stage) => [stage, mean((image) => image.stages[stage] ?? 0)]);
    lines.push(
      table(
        ['stage', made.length === 1 ? 'seconds' : `seconds, mean of ${String(made.length)}`],
        [...rows, ['total', mean(({ seconds }) => seconds)]],
      ),
    );
  }
  // Several may be made at once, so that their latencies do not add up to this.
  if (made.length > 1) {
    lines.push(`${String(made.length)} images in ${wallSeconds.toFixed(1)} s, ${(made.length / wallSeconds).toFixed(2)} a second`);
  }
  if (steps !== undefined) {
    lines.push(`a step takes ${(steps.medianSeconds * 1000).toFixed(1)} ms (median), ${exchangesOf(steps)}`);
  }
  const inOrder = images.toSorted((a, b) => a.image - b.image);
  return [...lines, ...inOrder.map(({ path, skipped }) => (skipped ? `${path} (kept)` : path)), ''].join('\n');
}

function exchangesOf({ exchangesPerStep, exchangeShare, sentBytesPerStep }: StepSummary): string {
  if (exchangesPerStep === 0) return 'no exchanges';
  const count = `${exchangesPerStep.toFixed(0)} exchanges`;
  if (exchangeShare === null || sentBytesPerStep === null) return `with ${count} in the device's graph`;
  return `${(exchangeShare * 100).toFixed(1)} % of it in ${count} that send ${formatBytes(sentBytesPerStep)}`;
}
