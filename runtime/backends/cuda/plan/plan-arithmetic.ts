/** Plans additions, products element by element and activations, where no pattern has taken them in. */
import type { Node, NodeOf } from '../../../graph/index.js';
import { planConvolution, planLinearOnto } from './plan-products.js';
import type { PlanState } from './plan-state.js';
import { reshapeView } from './view.js';

export function planAdd(state: PlanState, node: NodeOf<'add'>): void {
  const output = node.outputs[0] ?? -1;
  const epilogue = state.patterns.epilogues.get(node);
  if (epilogue !== undefined) {
    const { producer, aliases, residual } = epilogue;
    if (producer.op === 'conv2d') planConvolution(state, producer, output, aliases, residual);
    else planLinearOnto(state, producer, aliases, residual, output);
    return;
  }
  const [a = -1, b = -1] = node.inputs;
  if (state.patterns.onLoad.has(node)) {
    const [batch = 1, channels = 1] = state.shape(b);
    const shift = reshapeView(state.view(b), [batch, channels]);
    if (shift === undefined) throw state.unsupported(node, 'a time embedding that is not dense');
    state.sources.set(output, { parts: state.source(a).parts, shift });
    return;
  }
  planBroadcast(state, node, 'add');
}

export function planMultiply(state: PlanState, node: NodeOf<'mul'>): void {
  const source = state.patterns.geglu.get(node);
  if (source === undefined) {
    planBroadcast(state, node, 'mul');
    return;
  }
  const y = state.matrix(state.result(node.outputs[0] ?? -1), node);
  const projection = state.patterns.producerOf(source);
  if (projection?.op !== 'linear' || state.patterns.deferred.get(projection) !== node) {
    state.push({ kind: 'geglu', name: node.name, x: state.matrixOf(source, node), y });
    return;
  }
  const weight = state.weights.kernel([projection.inputs[1] ?? -1]);
  const bias = projection.inputs[2];
  state.push({
    kind: 'gatedGemm',
    name: projection.name,
    x: state.matrixOf(projection.inputs[0] ?? -1, projection),
    weight: weight.buffer,
    weightStride: weight.inputs,
    ...(bias === undefined ? {} : { bias: state.weights.vector([bias], 'half') }),
    projection: state.matrix(state.allocate(state.shape(source), 'half', 'operation'), projection),
    y,
  });
}

function planBroadcast(state: PlanState, node: NodeOf<'add'> | NodeOf<'mul'>, name: 'add' | 'mul'): void {
  const [x, operand] = [state.view(node.inputs[0] ?? -1), state.view(node.inputs[1] ?? -1)];
  const strides = operand.strides.map((stride, axis) => (operand.shape[axis] === 1 ? 0 : stride));
  const b = { ...operand, shape: x.shape, strides };
  state.push({ kind: 'pointwise', name: node.name, function: name, x, b, y: state.result(node.outputs[0] ?? -1, 'half', x.shape) });
}

export function planPointwise(state: PlanState, node: Node, name: 'silu' | 'gelu' | 'quickGelu'): void {
  const x = state.view(node.inputs[0] ?? -1);
  state.push({ kind: 'pointwise', name: node.name, function: name, x, y: state.result(node.outputs[0] ?? -1, 'half', x.shape) });
}
