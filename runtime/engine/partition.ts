/**
 * Cuts a graph at its collectives. What lies between two exchanges becomes one segment, a graph of its own that one backend call
 * can run; a graph without collectives is a single segment. Nodes run as early as their operands allow, so everything that does
 * not wait for a peer (time embeddings, keys and values of the prompt) lands in the first segments.
 */
import type { Graph, Node, NodeOf, ValueId } from '../graph/index.js';

export type PlanStep =
  | { readonly kind: 'segment'; readonly segment: number }
  /** `tag` numbers the exchange within the plan; equal on every rank. */
  | { readonly kind: 'exchange'; readonly tag: number; readonly node: NodeOf<'collective'> };

export interface Plan {
  readonly graph: Graph;
  /** Collective-free graphs; their inputs and outputs are named {@link valueName} and keep the whole graph's value ids. */
  readonly segments: readonly Graph[];
  readonly steps: readonly PlanStep[];
}

/** The name of a value that crosses segments. */
export function valueName(value: ValueId): string {
  return `v${String(value)}`;
}

export function partition(graph: Graph): Plan {
  const stages = stageOf(graph);
  const stageCount = Math.max(0, ...graph.nodes.map((node) => stages.get(node) ?? 0)) + 1;
  const segments: Graph[] = [];
  const steps: PlanStep[] = [];
  let tag = 0;
  for (let stage = 0; stage < stageCount; stage++) {
    const members = graph.nodes.filter((node) => stages.get(node) === stage);
    const compute = members.filter((node) => node.op !== 'collective');
    if (compute.length > 0) {
      steps.push({ kind: 'segment', segment: segments.length });
      segments.push(segmentGraph(graph, compute, segments.length));
    }
    for (const node of members) {
      if (node.op === 'collective') steps.push({ kind: 'exchange', tag: tag++, node });
    }
  }
  return { graph, segments, steps };
}

/** The stage a node runs in: the number of exchanges in a row that come before it. A collective belongs to the stage it ends. */
function stageOf(graph: Graph): ReadonlyMap<Node, number> {
  const ready = new Map<ValueId, number>();
  const stages = new Map<Node, number>();
  for (const node of graph.nodes) {
    const stage = Math.max(0, ...node.inputs.map((input) => ready.get(input) ?? 0));
    stages.set(node, stage);
    for (const output of node.outputs) ready.set(output, node.op === 'collective' ? stage + 1 : stage);
  }
  return stages;
}

function segmentGraph(graph: Graph, nodes: readonly Node[], index: number): Graph {
  const inside = new Set(nodes.flatMap((node) => node.outputs));
  const read = new Set(nodes.flatMap((node) => node.inputs));
  const members = new Set(nodes);
  const readOutside = new Set<ValueId>([
    ...graph.outputs.map(({ value }) => value),
    ...graph.nodes.filter((node) => !members.has(node)).flatMap((node) => node.inputs),
  ]);
  const weights = graph.weights.filter(({ value }) => read.has(value));
  const weightValues = new Set(weights.map(({ value }) => value));
  const named = (value: ValueId): { name: string; value: ValueId } => ({ name: valueName(value), value });
  return {
    name: `${graph.name}.${String(index)}`,
    symbols: graph.symbols,
    types: graph.types,
    inputs: [...read].filter((value) => !inside.has(value) && !weightValues.has(value)).map(named),
    weights,
    nodes,
    outputs: [...inside].filter((value) => readOutside.has(value)).map(named),
  };
}
