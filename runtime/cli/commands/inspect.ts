/** `sdxl inspect`: what a model becomes on a mesh, without running it: parameters, segments, exchanges, a graph's text. */
import { Option, type Command } from 'commander';
import { partition } from '../../engine/index.js';
import { SdxlError } from '../../errors/index.js';
import { evaluateShape, printGraph, typeOf, type CollectiveLabel, type Graph, type NodeOf, type SymbolValues } from '../../graph/index.js';
import { formatBytes, meshOf, openModel, patchTimingOf, toJobRequest, type LocalJob } from '../../launch/index.js';
import { decodeMesh, displacementOf, gangSize, printMesh } from '../../parallel/index.js';
import { checkRequest, estimateMemory, planComponents, type Model, type ModelComponents } from '../../pipeline/index.js';
import { byteLength } from '../../tensor/index.js';
import type { SdxlJobSpec } from '../../../crds/index.js';
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
import { integer, once } from '../numbers.js';
import { examples } from '../options.js';
import { table } from '../table.js';

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
  command.option('--json', 'with --mesh: print the choice as JSON');
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
    const ofMesh = json === true ? '--json' : options.numImages === undefined ? undefined : '--num-images';
    if (mesh !== true && ofMesh !== undefined)
      throw new SdxlError('USAGE', `${ofMesh} is for --mesh: give both`, { fields: { option: ofMesh } });
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
    await inspect(job, graph, context);
  });
}

async function inspect({ spec }: LocalJob, graph: keyof typeof graphNames | undefined, context: Context): Promise<void> {
  await using model = await openModel(spec.model);
  const mesh = meshOf(spec);
  checkRequest(model, toJobRequest({ name: '', spec }).first, mesh);
  const { components } = planComponents(model, mesh, 0);
  context.stdout.write(graph === undefined ? describe(model, components, spec) : printGraph(components[graphNames[graph]].graph));
}

function describe(model: Model, components: ModelComponents, spec: SdxlJobSpec): string {
  const mesh = meshOf(spec);
  const guided = Number(spec.guidanceScale) > 1;
  const factor = model.vaeScaleFactor;
  const [rows, columns] = [spec.height / factor, spec.width / factor];
  const sizes: Readonly<Record<keyof ModelComponents, SymbolValues>> = {
    textEncoder: {},
    textEncoder2: {},
    unet: {
      batch: guided && mesh.cfg === 1 ? 2 : 1,
      height: rows / mesh.patch / model.latentUnit,
      width: columns / model.latentUnit,
      tokens: model.parts.textEncoder.config.maxPositions,
    },
    vaeDecoder: { batch: 1, height: rows / decodeMesh(mesh).patch, width: columns },
  };
  const names = ['textEncoder', 'textEncoder2', 'unet', 'vaeDecoder'] as const;
  const networks = names.map((name) => {
    const { graph } = components[name];
    const { segments } = partition(graph);
    const exchanges = collectives(graph);
    const sent = exchanges.reduce((sum, node) => sum + sentBytes(graph, node, sizes[name]), 0);
    return [
      graph.name,
      count(parameters(graph)),
      String(graph.nodes.length),
      String(segments.length),
      String(exchanges.length),
      (sent / 1e6).toFixed(2),
    ];
  });
  const patches = patchTimingOf(spec);
  const displacement = displacementOf(spec.parallelism.mode);
  const kinds = names.flatMap((name) => {
    const rows = exchangeRows(components[name].graph, sizes[name]);
    if (displacement === undefined) return rows.map(({ cells }) => cells);
    return rows.map(({ cells, label }) => [...cells, name === 'unet' ? displacement.timing[label] : 'fresh']);
  });
  const kindTitles = ['network', 'exchange', 'times', 'MB sent', ...(displacement === undefined ? [] : ['displaced'])];
  const memory = estimateMemory(model, components, mesh, { height: spec.height, width: spec.width, guided, patches });
  return [
    `${model.parts.directory}: ${String(spec.width)}x${String(spec.height)} on ${String(gangSize(mesh))} ranks (${printMesh(mesh)})`,
    '',
    table(['network', 'parameters', 'nodes', 'segments', 'exchanges', 'MB sent'], networks),
    ...(kinds.length === 0 ? [] : ['', table(kindTitles, kinds)]),
    '',
    'MB sent: by one rank between two others, in one run of the network.',
    `Memory of a rank: ${formatBytes(memory.totalBytes)}, of which activations ${formatBytes(memory.activationBytes)}` +
      `${patches === undefined ? '' : ` and kept exchanges ${formatBytes(memory.keptBytes)}`}.`,
    '',
  ].join('\n');
}

function parameters(graph: Graph): number {
  return graph.weights.reduce((sum, { shape }) => sum + shape.reduce((product, dim) => product * dim, 1), 0);
}

function collectives(graph: Graph): NodeOf<'collective'>[] {
  return graph.nodes.filter((node) => node.op === 'collective');
}

/** What a rank with a neighbour on either side sends; of two ranks each has one. */
function sentBytes(graph: Graph, node: NodeOf<'collective'>, symbols: SymbolValues): number {
  const { payloads, ranks } = node.params;
  return payloads.reduce((sum, payload, index) => {
    const input = node.inputs[index];
    if (input === undefined) return sum;
    const { dtype, shape } = typeOf(graph, input);
    const bytes = byteLength(dtype, evaluateShape(shape, symbols));
    return sum + (payload.kind === 'neighbors' ? (bytes / 2) * Math.min(2, ranks - 1) : bytes * (ranks - 1));
  }, 0);
}

function exchangeRows(graph: Graph, symbols: SymbolValues): { readonly label: CollectiveLabel; readonly cells: string[] }[] {
  const kinds = new Map<CollectiveLabel, { times: number; bytes: number }>();
  for (const node of collectives(graph)) {
    const kind = kinds.get(node.params.label) ?? { times: 0, bytes: 0 };
    kinds.set(node.params.label, { times: kind.times + 1, bytes: kind.bytes + sentBytes(graph, node, symbols) });
  }
  return [...kinds].map(([label, { times, bytes }]) => ({ label, cells: [graph.name, label, String(times), (bytes / 1e6).toFixed(2)] }));
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
