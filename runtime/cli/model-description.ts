/** `sdxl inspect`: a model's networks as a rank of a mesh runs them, for people and for programs. */
import type { SdxlJobSpec } from '../../crds/index.js';
import { partition } from '../engine/index.js';
import { evaluateShape, typeOf, type CollectiveLabel, type Graph, type NodeOf, type SymbolValues } from '../graph/index.js';
import { formatBytes, meshOf, patchTimingOf } from '../launch/index.js';
import { packageVersion } from '../package-root.js';
import { displacementOf, gangSize, printMesh } from '../parallel/index.js';
import { componentSizes, estimateMemory, type Model, type ModelComponents } from '../pipeline/index.js';
import { byteLength } from '../tensor/index.js';
import { table } from './table.js';

export interface ModelDescription {
  readonly model: string;
  readonly width: number;
  readonly height: number;
  readonly ranks: number;
  /** As `printMesh` writes it. */
  readonly mesh: string;
  readonly networks: readonly NetworkDescription[];
  readonly memory: { readonly totalBytes: number; readonly activationBytes: number; readonly keptBytes?: number };
}

interface NetworkDescription {
  readonly name: string;
  readonly parameters: number;
  readonly nodes: number;
  readonly segments: number;
  /** By kind. */
  readonly exchanges: readonly ExchangeDescription[];
}

interface ExchangeDescription {
  readonly kind: CollectiveLabel;
  readonly times: number;
  /** By one rank between two others, in one run of the network. */
  readonly sentBytes: number;
  /** What a displaced step reads of its peers; absent where the mode has no displaced steps. */
  readonly displaced?: string;
}

const names = ['textEncoder', 'textEncoder2', 'unet', 'vaeDecoder'] as const satisfies readonly (keyof ModelComponents)[];

export function describeModel(model: Model, components: ModelComponents, spec: SdxlJobSpec): ModelDescription {
  const mesh = meshOf(spec);
  const guided = Number(spec.guidanceScale) > 1;
  const sizes = componentSizes(model, mesh, { height: spec.height, width: spec.width, guided });
  const displacement = displacementOf(spec.parallelism.mode);
  const patches = patchTimingOf(spec);
  const memory = estimateMemory(model, components, mesh, { height: spec.height, width: spec.width, guided, patches });
  return {
    model: model.parts.directory,
    width: spec.width,
    height: spec.height,
    ranks: gangSize(mesh),
    mesh: printMesh(mesh),
    networks: names.map((name) => {
      const { graph } = components[name];
      const exchanges = exchangesOf(graph, sizes[name]);
      return {
        name: graph.name,
        parameters: graph.weights.reduce((sum, { shape }) => sum + shape.reduce((product, dim) => product * dim, 1), 0),
        nodes: graph.nodes.length,
        segments: partition(graph).segments.length,
        exchanges:
          displacement === undefined
            ? exchanges
            : exchanges.map((exchange) => ({
                ...exchange,
                displaced: name === 'unet' ? displacement.timing[exchange.kind] : 'fresh',
              })),
      };
    }),
    memory: {
      totalBytes: memory.totalBytes,
      activationBytes: memory.activationBytes,
      ...(patches === undefined ? {} : { keptBytes: memory.keptBytes }),
    },
  };
}

export function printModel({ model, width, height, ranks, mesh, networks, memory }: ModelDescription): string {
  const kinds = networks.flatMap(({ name, exchanges }) =>
    exchanges.map(({ kind, times, sentBytes, displaced }) => [
      name,
      kind,
      String(times),
      megabytes(sentBytes),
      ...(displaced === undefined ? [] : [displaced]),
    ]),
  );
  const displaced = networks.some(({ exchanges }) => exchanges.some((exchange) => exchange.displaced !== undefined));
  const kindTitles = ['network', 'exchange', 'times', 'MB sent', ...(displaced ? ['displaced'] : [])];
  return [
    `${model}: ${String(width)}x${String(height)} on ${String(ranks)} ${ranks === 1 ? 'rank' : 'ranks'} (${mesh})`,
    '',
    table(['network', 'parameters', 'nodes', 'segments', 'exchanges', 'MB sent'], networks.map(networkRow)),
    ...(kinds.length === 0 ? [] : ['', table(kindTitles, kinds)]),
    '',
    'MB sent: by one rank between two others, in one run of the network.',
    `Memory of a rank: ${formatBytes(memory.totalBytes)}, of which activations ${formatBytes(memory.activationBytes)}` +
      `${memory.keptBytes === undefined ? '' : ` and kept exchanges ${formatBytes(memory.keptBytes)}`}.`,
    '',
  ].join('\n');
}

export function modelAsJson(description: ModelDescription): string {
  return `${JSON.stringify({ version: packageVersion, ...description }, null, 2)}\n`;
}

function networkRow({ name, parameters, nodes, segments, exchanges }: NetworkDescription): string[] {
  const [times, bytes] = exchanges.reduce(([count, sum], { times, sentBytes }) => [count + times, sum + sentBytes], [0, 0]);
  return [name, parameters.toLocaleString('en-US'), String(nodes), String(segments), String(times), megabytes(bytes)];
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(2);
}

function exchangesOf(graph: Graph, symbols: SymbolValues): ExchangeDescription[] {
  const kinds = new Map<CollectiveLabel, ExchangeDescription>();
  for (const node of graph.nodes.filter((node) => node.op === 'collective')) {
    const kind = node.params.label;
    const { times, sentBytes } = kinds.get(kind) ?? { times: 0, sentBytes: 0 };
    kinds.set(kind, { kind, times: times + 1, sentBytes: sentBytes + sentBytesOf(graph, node, symbols) });
  }
  return [...kinds.values()];
}

/** What a rank with a neighbour on either side sends; of two ranks each has one. */
function sentBytesOf(graph: Graph, node: NodeOf<'collective'>, symbols: SymbolValues): number {
  const { payloads, ranks } = node.params;
  return payloads.reduce((sum, payload, index) => {
    const input = node.inputs[index];
    if (input === undefined) return sum;
    const { dtype, shape } = typeOf(graph, input);
    const bytes = byteLength(dtype, evaluateShape(shape, symbols));
    return sum + (payload.kind === 'neighbors' ? (bytes / 2) * Math.min(2, ranks - 1) : bytes * (ranks - 1));
  }, 0);
}
