/** Plans attention: fused, or for a head too wide for that as products and a softmax. */
import type { Node, NodeOf } from '../../../graph/index.js';
import { channelUnit } from './planned-weights.js';
import type { PlanState } from './plan-state.js';
import { elementBytes, permute, sliceView, type MatrixView, type View } from './view.js';

/** cuDNN's fused attention holds a head of so many channels on chip; wider ones run at a tenth of a product's speed. */
const widestFusedHead = 256;

export function planAttention(state: PlanState, node: NodeOf<'attention'>): void {
  const [q, k, v] = [0, 1, 2].map((index) => state.view(node.inputs[index] ?? -1));
  if (q === undefined || k === undefined || v === undefined) throw new Error(`${node.name} lacks an operand`);
  const { heads, scale, causal } = node.params;
  const y = state.result(node.outputs[0] ?? -1);
  // Rows of whole 16-byte pieces, as products and softmax read them.
  const isAligned = (k.shape[1] ?? 1) % channelUnit === 0;
  if (heads === 1 && !causal && isAligned && (q.shape[2] ?? 0) > widestFusedHead) planWideAttention(state, node, { q, k, v, y }, scale);
  else state.push({ kind: 'attention', name: node.name, q, k, v, y, heads, scale, causal });
}

/**
 * One head too wide for fused kernels, the VAE's of 512 channels: products and a softmax over as many queries at a time as fit the limit.
 * Softmaxes are held times 256, so that one over all tokens of an image is no denormal number of fp16.
 */
function planWideAttention(
  state: PlanState,
  node: Node,
  { q, k, v, y }: Readonly<Record<'q' | 'k' | 'v' | 'y', View>>,
  scale: number,
): void {
  const [batch = 1, queries = 1, channels = 1] = q.shape;
  const keys = k.shape[1] ?? 1;
  const held = 256;
  const rows = Math.min(queries, Math.max(128, Math.floor(state.scoreBytes / (keys * elementBytes.f32) / 128) * 128));
  const image = (view: View, index: number, start: number, end: number): MatrixView =>
    state.matrix(sliceView(sliceView(view, 0, index, index + 1), 1, start, end), node);
  for (let index = 0; index < batch; index++) {
    const transposed = state.allocate([channels, keys], 'half', 'operation');
    const values = permute(sliceView(v, 0, index, index + 1), [0, 2, 1]);
    const x = { ...values, shape: values.shape.slice(1), strides: values.strides.slice(1) };
    state.push({ kind: 'pointwise', name: `${node.name}.values`, function: 'copy', x, y: transposed });
    for (let start = 0; start < queries; start += rows) {
      const end = Math.min(queries, start + rows);
      const scores = state.matrix(state.allocate([end - start, keys], 'f32', 'operation'), node);
      const weights = state.matrix(state.allocate([end - start, keys], 'half', 'operation'), node);
      const [queried, known] = [image(q, index, start, end), image(k, index, 0, keys)];
      state.push({ kind: 'matmul', name: `${node.name}.scores`, x: queried, w: known, y: scores, factor: scale });
      state.push({ kind: 'softmax', name: `${node.name}.softmax`, x: scores, y: weights, factor: held });
      const [w, out] = [state.matrix(transposed, node), image(y, index, start, end)];
      state.push({ kind: 'matmul', name: `${node.name}.sum`, x: weights, w, y: out, factor: 1 / held });
    }
  }
}
