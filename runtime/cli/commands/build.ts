/** `sdxl build`: engines into the cache, so that a later run only loads them. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { SdxlError } from '../../errors/index.js';
import { resolveBackend, type LocalJob, type RankMessage } from '../../launch/index.js';
import type { Context } from '../context.js';
import { follow, type RunOptions } from '../follow.js';
import { readJobFile } from '../job-file.js';
import {
  addBackendOption,
  addMeshKindOption,
  addMeshOptions,
  addModelOption,
  addSizeOptions,
  jobFromOptions,
  refuseJobOptions,
  type JobOptions,
} from '../job-options.js';
import { once } from '../numbers.js';
import { addRunOptions, examples } from '../options.js';
import { table } from '../table.js';

export function addBuildCommand(program: Command, context: Context): void {
  const command = program
    .command('build')
    .summary('build engines')
    .description(
      'Builds the engines of a model, or of a job (-f), for a number of ranks into the cache. Engines of the Onnx backend serve every size and every rank; --size is checked against the model and the mesh.',
    )
    .option('-f, --file <file>', 'SdxlJob whose engines are built; - reads the standard input', once);
  addModelOption(command);
  addSizeOptions(command);
  addMeshOptions(command);
  addMeshKindOption(command);
  addBackendOption(command);
  addRunOptions(command);
  command.option(
    '--timing-cache <file>',
    'tactics timed before on such a device, which the Cuda backend reads instead of timing and adds to (default: SDXL_CUDA_TIMING_CACHE)',
    once,
  );
  command.addHelpText(
    'after',
    examples(
      'sdxl build --model ./sdxl-base --size 1024',
      'sdxl build --model ./sdxl-base --size 1024 -n 2',
      'sdxl build --model ./sdxl-base --size 1024 --backend Cuda --timing-cache h100.json',
    ),
  );
  command.action(async (options: RunOptions & JobOptions & { readonly file?: string; readonly timingCache?: string }) => {
    const job = await jobOf(command, options, context);
    const { environment } = context;
    const { timingCache = environment.cudaTimingCache } = options;
    if (options.timingCache !== undefined && resolveBackend(job.spec.backend) !== 'Cuda') {
      throw new SdxlError('USAGE', '--timing-cache is for the Cuda backend: the Onnx backend times no tactics; leave it out', {
        fields: { option: '--timing-cache', backend: job.spec.backend },
      });
    }
    const rows: string[][] = [];
    const cudaTimingCache = timingCache === undefined ? undefined : resolve(timingCache);
    await follow(
      { ...context, environment: { ...environment, cudaTimingCache } },
      {
        task: { kind: 'build' },
        job,
        options,
        images: 1,
        onMessage: (_rank: number, message: RankMessage) => {
          if (message.type !== 'event' || message.event.type !== 'engine') return;
          const { component, cached, buildSeconds } = message.event;
          rows.push([component, cached ? 'cached' : 'built', buildSeconds.toFixed(3)]);
        },
      },
    );
    context.stdout.write(`${table(['engine', 'state', 'seconds'], rows)}\n`);
  });
}

async function jobOf(
  command: Command,
  options: JobOptions & { readonly file?: string },
  { environment, stop }: Context,
): Promise<LocalJob> {
  // The contract asks for a prompt; engines do not depend on it.
  if (options.file === undefined) return jobFromOptions({ ...options, prompt: '-' }, environment);
  refuseJobOptions(command, options.file);
  return readJobFile(options.file, stop);
}
