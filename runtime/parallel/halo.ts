/**
 * Where the rows next to a band come from. A padded convolution needs its neighbours' boundary rows. Instead of sending the
 * convolution's own input, the rows are taken as far upstream as is free, and what lies between is computed again on those few
 * rows: before a GroupNorm they ride in the exchange of its statistics, before an upsampling they are a quarter of the size,
 * and at the graph's input no exchange is needed at all.
 */
import type { Graph, Node, NodeOf, ValueId } from '../graph/index.js';

/** Nodes that can be computed again on a few rows. */
export type ReplayNode = Extract<Node, { op: 'activation' | 'affine' | 'groupNorm' | 'upsampleNearest' | 'conv2d' }>;

export interface HaloSource {
  /** The value whose boundary rows are taken. */
  readonly value: ValueId;
  /** `input`: the graph's caller supplies them; `norm`: with the statistics of the first replayed node; `exchange`: on their own. */
  readonly from: 'input' | 'norm' | 'exchange';
  /** Nodes to compute again on the rows, in order. */
  readonly replay: readonly ReplayNode[];
}

/** Finds the source of the rows around `value`. */
export function haloSource(graph: Graph, producers: ReadonlyMap<ValueId, Node>, value: ValueId): HaloSource {
  const here: HaloSource = { value, from: 'exchange', replay: [] };
  const producer = producers.get(value);
  if (producer === undefined) return graph.inputs.some((input) => input.value === value) ? { ...here, from: 'input' } : here;
  const upstream = (): HaloSource => haloSource(graph, producers, producer.inputs[0] ?? -1);
  switch (producer.op) {
    case 'groupNorm':
      return { value: producer.inputs[0] ?? -1, from: 'norm', replay: [producer] };
    case 'upsampleNearest': {
      const source = upstream();
      return { ...source, replay: [...source.replay, producer] };
    }
    case 'activation':
    case 'affine': {
      const source = upstream();
      return source.from === 'exchange' ? here : { ...source, replay: [...source.replay, producer] };
    }
    case 'conv2d': {
      if (!isPointwise(producer)) return here;
      const source = upstream();
      return source.from === 'input' ? { ...source, replay: [...source.replay, producer] } : here;
    }
    default:
      return here;
  }
}

export function isPointwise(node: NodeOf<'conv2d'>): boolean {
  const { stride, padding } = node.params;
  return stride === 1 && padding.top === 0 && padding.bottom === 0 && padding.left === 0 && padding.right === 0;
}

/** Whether zero rows stay zero: where they do not, rows beyond the image's edge must be zeroed again. */
export function keepsZero(node: ReplayNode): boolean {
  switch (node.op) {
    case 'activation':
    case 'upsampleNearest':
      return true;
    case 'affine':
      return node.params.offset === 0;
    case 'groupNorm':
      return false;
    case 'conv2d':
      return node.inputs.length < 3;
  }
}

export function producersOf(graph: Graph): Map<ValueId, Node> {
  return new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
}
