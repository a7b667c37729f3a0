/** `sdxl inspect`: what a model becomes on a mesh, without running it: parameters, segments, exchanges, a graph's text. */
import { Option, type Command } from 'commander';
import { SdxlError } from '../../errors/index.js';
import { printGraph } from '../../graph/index.js';
import { meshOf, openModel, toJobRequest, type LocalJob } from '../../launch/index.js';
import { checkRequest, planComponents, type ModelComponents } from '../../pipeline/index.js';
import type { Context } from '../context.js';
import { readJobFile, readValidJob } from '../job-file.js';
import {
  addBackendOption,
  addMeshOptions,
  addModelOption,
  addModeOptions,
  addSizeOptions,
  jobFromOptions,
  refuseJobOptions,
  validJobFromOptions,
  type JobOptions,
} from '../job-options.js';
import { meshChoiceAsJson, printMeshChoice } from '../mesh-explanation.js';
import { describeModel, modelAsJson, printModel } from '../model-description.js';
import { integer, once } from '../numbers.js';
import { examples } from '../options.js';

const graphNames = {
  text_encoder: 'textEncoder',
  text_encoder_2: 'textEncoder2',
  unet: 'unet',
  vae_decoder: 'vaeDecoder',
} as const satisfies Record<string, keyof ModelComponents>;

interface Options extends Omit<JobOptions, 'mesh'> {
  readonly file?: string;
  readonly graph?: keyof typeof graphNames;
  readonly mesh?: boolean;
  readonly json?: boolean;
}

export function addInspectCommand(program: Command, context: Context): void {
  const command = program
    .command('inspect')
    .summary('show graphs and shards, explain a mesh')
    .description(
      "Shows a model's networks as a rank of the mesh runs them: parameters, segments, exchanges and bytes of a step, memory. Reads no weights.",
    );
  command.option('-f, --file <file>', 'SdxlJob to inspect; - reads the standard input', once);
  addModelOption(command);
  addSizeOptions(command);
  addMeshOptions(command);
  addModeOptions(command);
  addBackendOption(command);
  command.addOption(new Option('--graph <name>', 'print this graph instead').choices(Object.keys(graphNames)));
  command.option('--mesh', 'show which mesh Auto chooses for -n ranks and why, instead; needs no model');
  command.option('--num-images <count>', 'with --mesh: images of the job (default: 1)', integer);
  command.option('--json', 'print it as JSON');
  command.option('--guidance-scale <number>', 'up to 1 guidance is off and the batch is one (default: 5.0)');
  command.addHelpText(
    'after',
    examples(
      'sdxl inspect --model ./sdxl-base -n 2',
      'sdxl inspect --model ./sdxl-base -n 2 --graph unet',
      'sdxl inspect --mesh -n 8 --num-images 4 --size 1024 --backend Cuda',
      'sdxl inspect --mesh -f job.yaml --json',
    ),
  );
  command.action(async ({ file, graph, mesh, json, ...options }: Options) => {
    if (file !== undefined) refuseJobOptions(command, file, ['mesh']);
    if (mesh !== true && options.numImages !== undefined)
      throw new SdxlError('USAGE', '--num-images is for --mesh: give both', { fields: { option: '--num-images' } });
    if (graph !== undefined && json === true)
      throw new SdxlError('USAGE', '--graph prints a text of its own: leave out --json', { fields: { option: '--json' } });
    if (mesh === true && graph !== undefined)
      throw new SdxlError('USAGE', '--graph and --mesh show different things: give one', { fields: { option: '--graph' } });
    if (mesh === true) {
      const asked = { ...options, mesh: 'Auto', prompt: '-', model: options.model ?? '-' };
      const { spec } = file === undefined ? validJobFromOptions(asked, context.environment) : await readValidJob(file, context.stop);
      context.stdout.write(json === true ? meshChoiceAsJson(spec) : printMeshChoice(spec));
      return;
    }
    const job =
      file === undefined
        ? jobFromOptions({ ...options, prompt: '-' }, context.environment)
        : await readJobFile(file, context.stop, { placed: true });
    await inspect(job, { graph, json: json === true }, context);
  });
}

interface Shown {
  readonly graph: keyof typeof graphNames | undefined;
  readonly json: boolean;
}

async function inspect({ spec }: LocalJob, { graph, json }: Shown, context: Context): Promise<void> {
  await using model = await openModel(spec.model);
  const mesh = meshOf(spec);
  checkRequest(model, toJobRequest({ name: '', spec }).first, mesh);
  const { components } = planComponents(model, mesh, 0);
  if (graph !== undefined) {
    context.stdout.write(printGraph(components[graphNames[graph]].graph));
    return;
  }
  const description = describeModel(model, components, spec);
  context.stdout.write(json ? modelAsJson(description) : printModel(description));
}
