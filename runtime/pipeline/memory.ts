/** How much memory a rank will need, estimated from the graphs before anything is loaded. */
import type { Component } from '../engine/index.js';
import { evaluateShape, type Displacement, type Graph, type SymbolValues, type ValueId } from '../graph/index.js';
import { byteLength } from '../tensor/index.js';
import { componentSizes, type ImageSize } from './component-sizes.js';
import type { Model } from './model.js';
import type { ModelComponents } from './components.js';
import type { PatchTiming } from './request.js';
import { displacementOf, type Mesh } from '../parallel/index.js';

export interface MemoryEstimate {
  /** Weights as the backend holds them. */
  readonly weightBytes: Readonly<Record<keyof ModelComponents, number>>;
  /** The largest sum of activations alive at once, over all components. */
  readonly activationBytes: number;
  /** What displaced steps keep of their exchanges from one to the next. */
  readonly keptBytes: number;
  /** Process, runtime libraries, exchange buffers. */
  readonly overheadBytes: number;
  readonly totalBytes: number;
}

const overheadBytes = 512 * 2 ** 20;

/**
 * ONNX Runtime's arena grows by doubling, and its blocked convolutions hold reordered copies: with SDXL base at 512² one rank was
 * measured at 15.0 GiB of anonymous memory, 12.8 GiB of it weights, where the graph alone accounts for 0.4 GiB of activations.
 */
const activationFactor = 4;

/** For one rank computing in fp32. `patches` undefined: synchronous. */
export function estimateMemory(
  model: Model,
  components: ModelComponents,
  mesh: Mesh,
  size: ImageSize & { readonly patches?: PatchTiming | undefined },
): MemoryEstimate {
  const weights = (component: Component): number => component.graph.weights.reduce((sum, { shape }) => sum + byteLength('f32', shape), 0);
  const sizes = componentSizes(model, mesh, size);
  const weightBytes = {
    textEncoder: weights(components.textEncoder),
    textEncoder2: weights(components.textEncoder2),
    unet: weights(components.unet),
    vaeDecoder: weights(components.vaeDecoder),
  };
  const networks = [peakActivations(components.unet.graph, sizes.unet), peakActivations(components.vaeDecoder.graph, sizes.vaeDecoder)];
  const activationBytes = activationFactor * Math.max(...networks);
  const displacement = size.patches === undefined ? undefined : displacementOf(size.patches.mode);
  const keptBytes = displacement === undefined ? 0 : keptExchanges(components.unet.graph, sizes.unet, displacement);
  const totalBytes = Object.values(weightBytes).reduce((sum, bytes) => sum + bytes, 0) + activationBytes + keptBytes + overheadBytes;
  return { weightBytes, activationBytes, keptBytes, overheadBytes, totalBytes };
}

/** What every rank of the group sends in exchanges that may lag, held by each; of rows only the neighbours', which is little less. */
function keptExchanges(graph: Graph, symbols: SymbolValues, { timing }: Displacement): number {
  return graph.nodes.reduce((sum, node) => {
    if (node.op !== 'collective' || timing[node.params.label] === 'fresh') return sum;
    const types = node.outputs.map((output) => graph.types.get(output));
    return (
      sum + types.reduce((bytes, type) => bytes + (type === undefined ? 0 : byteLength(type.dtype, evaluateShape(type.shape, symbols))), 0)
    );
  }, 0);
}

/** Bytes alive at once when nodes run in order and every value is freed after its last reader. */
function peakActivations(graph: Graph, symbols: SymbolValues): number {
  const weights = new Set<ValueId>(graph.weights.map(({ value }) => value));
  const lastRead = new Map<ValueId, number>();
  graph.nodes.forEach((node, index) => {
    for (const input of node.inputs) lastRead.set(input, index);
  });
  const bytes = (value: ValueId): number => {
    const type = graph.types.get(value);
    return type === undefined || weights.has(value) ? 0 : byteLength(type.dtype, evaluateShape(type.shape, symbols));
  };
  let [alive, peak] = [0, 0];
  graph.nodes.forEach((node, index) => {
    // Convolutions and attention work in scratch space of about their output's size.
    const made = node.outputs.reduce((sum, output) => sum + bytes(output), 0);
    const scratch = node.op === 'conv2d' || node.op === 'attention' || node.op === 'linear' ? made : 0;
    alive += made;
    peak = Math.max(peak, alive + scratch);
    for (const input of new Set(node.inputs)) if (lastRead.get(input) === index) alive -= bytes(input);
  });
  return peak;
}
