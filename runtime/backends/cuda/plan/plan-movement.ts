/** Plans what moves values: rows of neighbours, concatenations, lookups, exchanges between ranks. */
import type { NodeOf } from '../../../graph/index.js';
import type { OperationOf } from './operations.js';
import type { PlanState } from './plan-state.js';
import { isDense, product, sliceView, type View } from './view.js';

export function planPadRows(state: PlanState, node: NodeOf<'padRows'>): void {
  for (const [index, part] of (['body', 'halo'] as const).entries()) {
    const value = node.inputs[index] ?? -1;
    if (state.patterns.placements.get(value)?.pad === node) continue;
    const y = state.padPart(node, part);
    state.push({ kind: 'pointwise', name: `${node.name}.${part}`, function: 'copy', x: state.view(value), y });
  }
  state.define(node.outputs[0] ?? -1, state.padBuffer(node));
}

export function planConcat(state: PlanState, node: NodeOf<'concat'>): void {
  const output = node.outputs[0] ?? -1;
  if (state.patterns.onLoad.has(node)) {
    const parts = node.inputs.map((input) => state.view(input));
    state.sources.set(output, { parts });
    return;
  }
  const { axis } = node.params;
  const y = state.result(output);
  let start = 0;
  for (const input of node.inputs) {
    const x = state.view(input);
    const end = start + (x.shape[axis] ?? 0);
    state.push({ kind: 'pointwise', name: node.name, function: 'copy', x, y: sliceView(y, axis, start, end) });
    start = end;
  }
}

export function planEmbedding(state: PlanState, node: NodeOf<'embedding'>): void {
  const [table = -1, ids = -1] = node.inputs;
  const [rows = 0, width = 0] = state.weights.shapeOf(table);
  const y = state.matrix(state.result(node.outputs[0] ?? -1), node);
  state.push({ kind: 'embedding', name: node.name, table: state.weights.table(table), rows, width, ids: state.view(ids), y });
}

/** Payloads that lie side by side in one buffer, as K and V do, travel as one. */
export function planCollective(state: PlanState, node: NodeOf<'collective'>): void {
  const { label, group, ranks, payloads } = node.params;
  const moves: OperationOf<'collective'>['payloads'][number][] = [];
  payloads.forEach((payload, index) => {
    const output = node.outputs[index] ?? -1;
    const source = state.view(node.inputs[index] ?? -1);
    const joined = payload.kind === 'allGather' ? joinable(state, source) : undefined;
    const previous = moves.at(-1);
    if (joined !== undefined && previous?.from.buffer === joined.buffer) {
      state.define(output, partOfJoined(source, previous.to));
      return;
    }
    if (joined !== undefined && payload.kind === 'allGather') {
      const shape = joined.shape.with(payload.axis, (joined.shape[payload.axis] ?? 1) * ranks);
      const to = state.allocate(shape, joined.type, 'operation');
      moves.push({ payload, from: joined, to });
      state.define(output, partOfJoined(source, to));
      return;
    }
    const from = state.dense(source, node);
    const axis = { allGather: 'axis' in payload ? payload.axis : 0, moments: 0, neighbors: undefined }[payload.kind];
    const to = state.result(output, from.type, axis === undefined ? from.shape : from.shape.with(axis, (from.shape[axis] ?? 1) * ranks));
    moves.push({ payload, from, to });
  });
  state.push({ kind: 'collective', name: node.name, label, group, ranks, payloads: moves });
}

/** The whole of a merged product `[…, n]` of which `view` is a slice of columns. */
function joinable(state: PlanState, view: View): View | undefined {
  const columns = view.strides.at(-2) ?? 0;
  const width = view.shape.at(-1) ?? 0;
  if (view.shape.length !== 3 || view.strides.at(-1) !== 1 || columns <= width) return undefined;
  const whole = { ...view, offset: 0, shape: view.shape.with(-1, columns) };
  return isDense(whole) && state.buffers[view.buffer]?.elements === product(whole.shape) ? whole : undefined;
}

function partOfJoined(part: View, whole: View): View {
  return sliceView(whole, 2, part.offset, part.offset + (part.shape[2] ?? 0));
}
