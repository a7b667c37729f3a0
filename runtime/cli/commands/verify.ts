/** `sdxl verify`: how far an image, and the way to it, is from what diffusers made of the same request. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { SdxlError } from '../../errors/index.js';
import { captureStages, type LocalJob } from '../../launch/index.js';
import { compareStages, diagnose, firstDifference, readReference, type StageComparison, type Stages } from '../../verify/index.js';
import type { Context } from '../context.js';
import { readJobFile } from '../job-file.js';
import { addBackendOption, addImageOptions, addModelOption, addSizeOptions, jobFromOptions, type JobOptions } from '../job-options.js';
import { directory, once } from '../numbers.js';
import { examples } from '../options.js';
import { table } from '../table.js';

interface Options extends JobOptions {
  readonly file?: string;
  readonly reference?: string;
  readonly image?: string;
  readonly json?: boolean;
  readonly cacheDir?: string;
}

export function addVerifyCommand(program: Command, context: Context): void {
  const command = program
    .command('verify')
    .summary('compare with diffusers')
    .description(
      'Makes the image of a job on one rank and compares it with what diffusers made of the same request: the image, or any of its embeddings and latents. ' +
        'Says in which stage the two part, by how much, and what the usual causes are. Ends with 4 where they differ.',
    )
    .option('-f, --file <file>', 'SdxlJob in YAML or JSON, instead of options', once)
    .option('--reference <file>', 'what diffusers made: .png, .npy, .npz or .safetensors', once)
    .option('--image <file>', 'compare this finished image and make none', once)
    .option('--json', 'print the result as JSON')
    .option(
      '--cache-dir <dir>',
      'where engines and digests are kept (default: SDXL_CACHE_DIR, or sdxl-operator in the user’s cache)',
      directory,
    );
  addModelOption(command);
  addSizeOptions(command);
  addImageOptions(command);
  addBackendOption(command);
  command.addHelpText(
    'after',
    examples(
      'sdxl verify --model ./sdxl-base --prompt "flowers, rabbit" --seed 233 --reference diffusers.png',
      'sdxl verify -f job.yaml --reference stages.safetensors',
      'sdxl verify --image output.png --reference diffusers.png',
    ),
  );
  command.action(async (options: Options) => {
    await verify(context, options);
  });
}

async function verify(context: Context, options: Options): Promise<void> {
  const { reference: path, image } = options;
  if (path === undefined)
    throw new SdxlError('USAGE', '--reference is missing: the file that diffusers made', { fields: { option: '--reference' } });
  const theirs = await readReference(path);
  const ours = image === undefined ? await make(context, options) : await readReference(image);
  const stages = compareStages(ours, theirs);
  if (stages.length === 0) {
    const there = [...theirs.keys()].join(', ');
    throw new SdxlError('USAGE', `${path} holds ${there}, and there is nothing to compare it with`, { fields: { file: path } });
  }
  const first = firstDifference(stages);
  const causes = diagnose(stages);
  if (options.json === true) {
    const document = {
      reference: path,
      same: first === undefined,
      firstDifference: first?.stage ?? null,
      causes,
      stages: stages.map(plain),
    };
    context.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  } else {
    context.stdout.write(report(stages, first, causes));
  }
  if (first === undefined) return;
  throw new SdxlError('IMAGE_DIFFERS', `${path} differs from ours in ${first.stage}, ${measure(first)}`, {
    fields: { file: path, stage: first.stage },
  });
}

async function make(context: Context, options: Options): Promise<Stages> {
  const { environment, stderr, stop } = context;
  const job: LocalJob =
    options.file === undefined
      ? jobFromOptions({ ...options, ranks: 1 }, environment)
      : await readJobFile(options.file, stop, { placed: true });
  return await captureStages(job, {
    cacheDirectory: options.cacheDir === undefined ? environment.cacheDirectory : resolve(options.cacheDir),
    cudaLibraryPath: environment.cudaLibraryPath,
    signal: stop,
    onNote: (note) => stderr.write(`${note}\n`),
  });
}

function report(stages: readonly StageComparison[], first: StageComparison | undefined, causes: readonly string[]): string {
  const rows = stages.map(({ stage, theirs, maxAbsolute, relative, decibels }) => [
    stage,
    theirs.join('x'),
    Number.isNaN(maxAbsolute) ? '' : maxAbsolute.toExponential(2),
    Number.isNaN(relative) ? '' : relative.toExponential(2),
    Number.isNaN(decibels) ? '' : decibels === Infinity ? 'equal' : decibels.toFixed(1),
  ]);
  const verdict =
    first === undefined
      ? 'The same: every stage is within 50 dB, what the order of sums explains.'
      : `They part in ${first.stage}, ${measure(first)}. Usual causes:\n${causes.map((cause) => `- ${cause}`).join('\n')}`;
  return `${table(['stage', 'shape', 'max abs', 'relative', 'PSNR (dB)'], rows)}\n\n${verdict}\n`;
}

function measure({ decibels, ours, theirs, finite }: StageComparison): string {
  if (!finite) return 'which is not finite';
  if (Number.isNaN(decibels)) return `whose shape is [${theirs.join(', ')}], ours [${ours.join(', ')}]`;
  return `at ${decibels.toFixed(1)} dB`;
}

/** JSON has no infinity and no NaN. */
function plain(comparison: StageComparison): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(comparison).map(([key, value]) => [
      key,
      typeof value === 'number' && !Number.isFinite(value) ? String(value) : (value as unknown),
    ]),
  );
}
