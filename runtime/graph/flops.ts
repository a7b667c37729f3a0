/** Arithmetic of a graph at given sizes: multiplications and additions of matrix products, convolutions and attention. */
import { evaluateShape, type SymbolValues } from './dim.js';
import { typeOf, type Graph, type Node, type ValueId } from './graph.js';

/** Floating-point operations of one run; elementwise work and norms are left out, as is usual when models are compared. */
export function countFlops(graph: Graph, symbols: SymbolValues): number {
  const shape = (value: ValueId | undefined): number[] => evaluateShape(typeOf(graph, value ?? -1).shape, symbols);
  return graph.nodes.reduce((sum, node) => sum + nodeFlops(node, shape), 0);
}

function nodeFlops(node: Node, shape: (value: ValueId | undefined) => number[]): number {
  const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);
  switch (node.op) {
    case 'linear':
    case 'conv2d': {
      const [, ...perOutput] = shape(node.inputs[1]);
      return 2 * product(shape(node.outputs[0])) * product(perOutput);
    }
    case 'attention': {
      const [batch = 0, queries = 0, channels = 0] = shape(node.inputs[0]);
      const [, keys = 0] = shape(node.inputs[1]);
      return 4 * batch * queries * keys * channels;
    }
    default:
      return 0;
  }
}
