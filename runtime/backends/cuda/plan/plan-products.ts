/** Plans products and convolutions: layers over one value together, additions in their epilogues. */
import type { Node, NodeOf, ValueId } from '../../../graph/index.js';
import { isPointwiseConvolution } from './patterns.js';
import type { PlanState } from './plan-state.js';
import { memoryOrder, permute, sliceView, type MatrixView } from './view.js';

/** One product for all layers over the same value. */
export function planLinear(state: PlanState, node: NodeOf<'linear'>): void {
  const group = state.patterns.siblings.get(node) ?? [node];
  if (state.sources.has(node.outputs[0] ?? -1)) return;
  const x = state.matrixOf(node.inputs[0] ?? -1, node);
  const outs = group.map((member) => state.weights.shapeOf(member.inputs[1] ?? -1)[0] ?? 0);
  const columns = outs.reduce((sum, out) => sum + out, 0);
  const leading = state.shape(node.outputs[0] ?? -1).slice(0, -1);
  const y = state.allocate([...leading, columns], 'half', 'operation');
  const name = group.length === 1 ? node.name : `${node.name} and ${String(group.length - 1)} more`;
  planProduct(state, name, x, group, state.matrix(y, node), false);
  let start = 0;
  group.forEach((member, index) => {
    const end = start + (outs[index] ?? 0);
    const output = member.outputs[0] ?? -1;
    state.stageOf.set(output, state.stage);
    state.define(output, sliceView(y, leading.length, start, end));
    start = end;
  });
}

/** y = residual + x·Wᵀ + b, in the residual's place where nobody needs it any more. */
export function planLinearOnto(
  state: PlanState,
  node: NodeOf<'linear'>,
  aliases: readonly Node[],
  residual: ValueId,
  output: ValueId,
): void {
  const x = state.matrixOf(node.inputs[0] ?? -1, node);
  const y = state.startFrom(residual, node);
  // The residual's elements in the order in which the product writes them.
  const written = aliases.toReversed().reduce((view, alias) => state.unaliased(alias, view), y);
  planProduct(state, node.name, x, [node], state.matrix(written, node), true);
  state.define(output, y);
}

/** A convolution whose result, through `aliases`, is `output`, plus a residual where there is one. */
export function planConvolution(
  state: PlanState,
  node: NodeOf<'conv2d'>,
  output: ValueId,
  aliases: readonly Node[],
  residual: ValueId | undefined,
): void {
  if (isPointwiseConvolution(node)) {
    planPointwiseConvolution(state, node, output, residual);
    return;
  }
  if (aliases.length > 0) throw state.unsupported(node, 'a convolution whose result is rearranged before an addition');
  const x = state.dense(state.view(node.inputs[0] ?? -1), node);
  const z = residual === undefined ? undefined : state.dense(state.view(residual), node);
  const y = z !== undefined && state.mayOverwrite(z) ? z : state.allocate(state.shape(node.outputs[0] ?? -1), 'half', 'operation');
  const weight = state.weights.kernel([node.inputs[1] ?? -1]);
  state.define(output, y);
  state.push({
    kind: 'conv',
    name: node.name,
    x,
    weight: weight.buffer,
    ...(node.inputs[2] === undefined ? {} : { bias: state.weights.vector([node.inputs[2]], 'half') }),
    ...(z === undefined ? {} : { residual: z }),
    y,
    kernel: [weight.height, weight.width],
    stride: node.params.stride,
    padding: node.params.padding,
  });
}

/** 1×1: a product over pixels; over a concatenation one product for each part. */
function planPointwiseConvolution(state: PlanState, node: NodeOf<'conv2d'>, output: ValueId, residual: ValueId | undefined): void {
  const { parts, shift } = state.source(node.inputs[0] ?? -1);
  if (shift !== undefined) throw state.unsupported(node, 'a convolution of a shifted value');
  const y =
    residual === undefined ? state.allocate(state.shape(node.outputs[0] ?? -1), 'half', 'operation') : state.startFrom(residual, node);
  let offset = 0;
  parts.forEach((part, index) => {
    const x = state.matrix(permute(part, memoryOrder(4)), node);
    const target = state.matrix(permute(y, memoryOrder(4)), node);
    const accumulate = residual !== undefined || index > 0;
    planProduct(state, node.name, x, [node], target, accumulate, { offset, withBias: index === 0 });
    offset += x.columns;
  });
  state.define(output, y);
}

/** y = x·Wᵀ + b (or y +=) with the stacked weights of `layers`. */
function planProduct(
  state: PlanState,
  name: string,
  x: MatrixView,
  layers: readonly (NodeOf<'linear'> | NodeOf<'conv2d'>)[],
  y: MatrixView,
  accumulate: boolean,
  part: { readonly offset: number; readonly withBias: boolean } = { offset: 0, withBias: true },
): void {
  const weight = state.weights.kernel(layers.map((layer) => layer.inputs[1] ?? -1));
  const biases = layers.flatMap((layer) => layer.inputs.slice(2));
  state.push({
    kind: 'gemm',
    name,
    x,
    weight: weight.buffer,
    weightOffset: part.offset,
    weightStride: weight.inputs,
    ...(biases.length > 0 && part.withBias ? { bias: state.weights.vector(biases, 'half') } : {}),
    accumulate,
    y,
  });
}
