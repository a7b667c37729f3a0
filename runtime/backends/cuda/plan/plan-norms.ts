/** Plans layer and group norms, with the activation and the mask that follow a group norm. */
import type { NodeOf } from '../../../graph/index.js';
import { channelUnit } from './planned-weights.js';
import type { PlanState } from './plan-state.js';

export function planLayerNorm(state: PlanState, node: NodeOf<'layerNorm'>): void {
  const [x = -1, weight = -1, bias = -1] = node.inputs;
  state.push({
    kind: 'layerNorm',
    name: node.name,
    x: state.matrixOf(x, node),
    weight: state.weights.vector([weight], 'f32'),
    bias: state.weights.vector([bias], 'f32'),
    epsilon: node.params.epsilon,
    y: state.matrix(state.result(node.outputs[0] ?? -1), node),
  });
}

export function planNormalize(state: PlanState, node: NodeOf<'groupNorm'> | NodeOf<'groupNormalize'>): void {
  const { silu, masks } = state.patterns;
  const mask = masks.get(node);
  const output = (mask ?? silu.get(node) ?? node).outputs[0] ?? -1;
  const affine = node.inputs.slice(-2).map((value) => state.weights.vector([value], 'f32'));
  const [weight = -1, bias = -1] = affine;
  const common = {
    name: node.name,
    source: state.source(node.inputs[0] ?? -1),
    groups: groupsOf(state, node),
    epsilon: node.params.epsilon,
    weight,
    bias,
    silu: silu.has(node),
  };
  state.stageOf.set(output, state.stage);
  if (node.op === 'groupNorm') {
    state.push({ kind: 'groupNorm', ...common, y: state.result(output, 'half', state.shape(node.outputs[0] ?? -1)) });
    return;
  }
  const moments = state.view(node.inputs[1] ?? -1);
  const rowMask = mask === undefined ? {} : { rowMask: state.view(mask.inputs[1] ?? -1) };
  const ranks = moments.shape[0] ?? 1;
  const y = state.result(output, 'half', state.shape(node.outputs[0] ?? -1));
  state.push({ kind: 'groupNormalize', ...common, moments, ranks, ...rowMask, y });
}

export function groupsOf(state: PlanState, node: NodeOf<'groupNorm'> | NodeOf<'groupNormalize'> | NodeOf<'groupMoments'>): number {
  const channels = state.shape(node.inputs[0] ?? -1)[1] ?? 0;
  if (channels % channelUnit !== 0) throw state.unsupported(node, `${String(channels)} channels, no multiple of ${String(channelUnit)}`);
  return node.params.groups;
}
