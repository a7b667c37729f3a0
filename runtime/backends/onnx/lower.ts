/**
 * Lowers one collective-free graph to an ONNX model (opset 17 and com.microsoft's fused kernels that ONNX Runtime's CPU provider
 * has). Every op of the catalogue has its entry in {@link lowerings}; sizes stay symbolic, and a reshape whose target depends on
 * more than one unknown reads it from an extra int64 input that the executor feeds ({@link ShapeInput}).
 */
import { SdxlError } from '../../errors/index.js';
import {
  equalDims,
  productOfDims,
  typeOf,
  type Dim,
  type Graph,
  type NodeOf,
  type OpName,
  type TensorType,
  type ValueId,
} from '../../graph/index.js';
import { packageVersion } from '../../package-root.js';
import { sinusoidFrequencies } from './frequencies.js';
import { ModelWriter, type ExternalWeight } from './model-writer.js';

/** An int64 input of a lowered segment whose elements are sizes, evaluated for each run. */
export interface ShapeInput {
  readonly name: string;
  readonly dims: readonly Dim[];
}

export interface LoweredSegment {
  readonly model: Uint8Array;
  readonly shapeInputs: readonly ShapeInput[];
}

/** Raised when the same graph is lowered to another model; part of every engine's key. */
export const loweringVersion = 3;

const opset = 17;
const microsoft = 'com.microsoft';

/** Finds where a weight lies; the caller has checked that it is there with the graph's shape. */
export type WeightLocator = (key: string) => Omit<ExternalWeight, 'name'>;

/** `valueName` names the graph's inputs and outputs in the model, as the executor feeds them. */
export function lowerGraph(graph: Graph, locate: WeightLocator, valueName: (value: ValueId) => string): LoweredSegment {
  return new Lowering(graph, valueName).run(locate);
}

type LowerOp<Op extends OpName> = (l: Lowering, node: NodeOf<Op>, inputs: readonly string[], output: string) => void;

class Lowering {
  readonly w: ModelWriter;
  readonly #graph: Graph;
  readonly #valueName: (value: ValueId) => string;
  readonly #shapeInputs = new Map<string, ShapeInput>();
  readonly #weightNames = new Map<ValueId, string>();

  constructor(graph: Graph, valueName: (value: ValueId) => string) {
    this.#graph = graph;
    this.#valueName = valueName;
    this.w = new ModelWriter(graph.name);
  }

  run(locate: WeightLocator): LoweredSegment {
    for (const { name, value } of this.#graph.inputs) this.w.input(name, this.type(value));
    for (const { key, value } of this.#graph.weights) this.#weightNames.set(value, this.#weight(key, value, locate(key)));
    for (const node of this.#graph.nodes) this.#lower(node.op, node);
    for (const { name, value } of this.#graph.outputs) this.w.output(name, this.type(value));
    for (const { name, dims } of this.#shapeInputs.values()) this.w.input(name, { dtype: 'i64', shape: [dims.length] });
    return { model: this.w.encode(opset, packageVersion), shapeInputs: [...this.#shapeInputs.values()] };
  }

  type(value: ValueId | undefined): TensorType {
    return typeOf(this.#graph, value ?? -1);
  }

  inputType(node: { readonly inputs: readonly ValueId[] }, position: number): TensorType {
    return this.type(node.inputs[position]);
  }

  /** Reshapes from a known shape, with a constant target where ONNX's 0 (copy) and −1 (infer) can express it. */
  reshape(x: string, from: readonly Dim[], to: readonly Dim[], output?: string): string {
    return this.w.node('Reshape', [x, this.#target(from, to)], {}, output);
  }

  /** Sizes as an int64 tensor. */
  sizes(dims: readonly Dim[]): string {
    if (dims.every((dim) => typeof dim === 'number')) return this.w.ints(dims);
    const name = `shape_${dims
      .map(String)
      .join('_')
      .replaceAll(/[^A-Za-z0-9_]/g, '.')}`;
    this.#shapeInputs.set(name, { name, dims });
    return name;
  }

  #target(from: readonly Dim[], to: readonly Dim[]): string {
    const target = to.map((dim, axis) => {
      if (typeof dim === 'number') return dim;
      const source = from[axis];
      return source !== undefined && equalDims(source, dim) ? 0 : -1;
    });
    return target.filter((size) => size === -1).length <= 1 ? this.w.ints(target) : this.sizes(to);
  }

  #weight(key: string, value: ValueId, location: Omit<ExternalWeight, 'name'>): string {
    if (location.dtype === 'f32') {
      this.w.weight({ ...location, name: key });
      return key;
    }
    if (location.dtype !== 'f16') {
      throw new SdxlError(
        'WEIGHTS_INVALID',
        `${location.file}: ${key} is ${location.dtype}; this backend reads f32 and f16: convert the file`,
        {
          fields: { file: location.file, tensor: key, found: location.dtype, expected: 'f32 or f16' },
        },
      );
    }
    // Folded into an f32 constant when the session opens.
    this.w.weight({ ...location, name: `${key}:f16` });
    return this.w.node('Cast', [`${key}:f16`], { to: 1 }, this.#valueName(value));
  }

  #lower<Op extends OpName>(op: Op, node: NodeOf<Op>): void {
    const lower: LowerOp<Op> = lowerings[op];
    const inputs = node.inputs.map((input) => this.#weightNames.get(input) ?? this.#valueName(input));
    lower(this, node, inputs, this.#valueName(node.outputs[0] ?? -1));
  }
}

const lowerings: { readonly [Op in OpName]: LowerOp<Op> } = {
  linear: (l, node, [x = '', weight = '', bias], output) => {
    const { shape } = l.inputType(node, 0);
    const operands = bias === undefined ? [weight] : [weight, bias];
    if (shape.length === 2) {
      l.w.node('Gemm', [x, ...operands], { transB: 1 }, output);
      return;
    }
    // Gemm reads safetensors' [out, in] as it lies; MatMul would need a transposed copy.
    const flat = l.reshape(x, shape, [productOfDims(shape.slice(0, -1)), shape.at(-1) ?? 1]);
    const y = l.w.node('Gemm', [flat, ...operands], { transB: 1 });
    const { shape: target } = l.type(node.outputs[0]);
    l.reshape(y, [productOfDims(target.slice(0, -1)), target.at(-1) ?? 1], target, output);
  },
  conv2d: (l, node, inputs, output) => {
    const { stride, padding } = node.params;
    const kernel = l.inputType(node, 1).shape.slice(2).map(Number);
    const attributes = {
      kernel_shape: kernel,
      strides: [stride, stride],
      pads: [padding.top, padding.left, padding.bottom, padding.right],
      dilations: [1, 1],
      group: 1,
    };
    l.w.node('Conv', inputs, attributes, output);
  },
  attention: (l, node, inputs, output) => {
    const { heads, scale, causal } = node.params;
    const attributes = { num_heads: heads, scale: { float: scale }, unidirectional: causal ? 1 : 0 };
    l.w.node('MultiHeadAttention', inputs, attributes, output, microsoft);
  },
  layerNorm: (l, node, inputs, output) => {
    l.w.node('LayerNormalization', inputs, { axis: -1, epsilon: { float: node.params.epsilon } }, output);
  },
  groupNorm: (l, node, [x = '', weight = '', bias = ''], output) => {
    const type = l.inputType(node, 0);
    const moments = groupMoments(l, x, type, node.params.groups);
    groupNormalize(l, x, type, moments, node.params, weight, bias, output);
  },
  groupMoments: (l, node, [x = ''], output) => {
    const { mean, variance } = groupMoments(l, x, l.inputType(node, 0), node.params.groups);
    const joined = l.w.node('Concat', [mean, variance], { axis: 2 });
    l.w.node('Unsqueeze', [joined, l.w.ints([0])], {}, output);
  },
  groupNormalize: (l, node, [x = '', moments = '', weight = '', bias = ''], output) => {
    const ranks = Number(l.inputType(node, 1).shape[0]);
    groupNormalize(l, x, l.inputType(node, 0), mergeMoments(l, moments, ranks), node.params, weight, bias, output);
  },
  add: (l, _node, inputs, output) => {
    l.w.node('Add', inputs, {}, output);
  },
  mul: (l, _node, inputs, output) => {
    l.w.node('Mul', inputs, {}, output);
  },
  activation: (l, node, inputs, output) => {
    const { kind } = node.params;
    if (kind === 'gelu') l.w.node('Gelu', inputs, {}, output, microsoft);
    // x·sigmoid(alpha·x): SiLU at alpha 1, CLIP's quick GELU at 1.702.
    else l.w.node('QuickGelu', inputs, { alpha: { float: kind === 'silu' ? 1 : 1.702 } }, output, microsoft);
  },
  affine: (l, node, [x = ''], output) => {
    const { factor, offset } = node.params;
    const scaled = l.w.node('Mul', [x, l.w.floats([], [factor])], {}, offset === 0 ? output : undefined);
    if (offset !== 0) l.w.node('Add', [scaled, l.w.floats([], [offset])], {}, output);
  },
  embedding: (l, _node, inputs, output) => {
    l.w.node('Gather', inputs, { axis: 0 }, output);
  },
  selectToken: (l, _node, [x = '', index = ''], output) => {
    const column = l.w.node('Unsqueeze', [index, l.w.ints([1])]);
    l.w.node('GatherND', [x, column], { batch_dims: 1 }, output);
  },
  sinusoid: (l, node, [values = ''], output) => {
    const { dim, flipSinToCos, shift, maxPeriod } = node.params;
    const column = l.w.node('Unsqueeze', [values, l.w.ints([1])]);
    const angles = l.w.node('Mul', [column, l.w.floats([1, dim / 2], sinusoidFrequencies(dim, shift, maxPeriod))]);
    const [sin, cos] = [l.w.node('Sin', [angles]), l.w.node('Cos', [angles])];
    l.w.node('Concat', flipSinToCos ? [cos, sin] : [sin, cos], { axis: 1 }, output);
  },
  reshape: (l, node, [x = ''], output) => {
    l.reshape(x, l.inputType(node, 0).shape, node.params.shape, output);
  },
  transpose: (l, node, inputs, output) => {
    l.w.node('Transpose', inputs, { perm: node.params.permutation }, output);
  },
  concat: (l, node, inputs, output) => {
    l.w.node('Concat', inputs, { axis: node.params.axis }, output);
  },
  slice: (l, node, [x = ''], output) => {
    const { axis, start, end } = node.params;
    l.w.node('Slice', [x, l.w.ints([start]), l.w.ints([end]), l.w.ints([axis])], {}, output);
  },
  upsampleNearest: (l, node, [x = ''], output) => {
    const { factor, size } = node.params;
    const attributes = { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' };
    // Of ⌈n/2⌉ rows to n, row i is taken from ⌊i·⌈n/2⌉/n⌋, which is ⌊i/2⌋.
    const scale = size === undefined ? [l.w.floats([4], [1, 1, factor, factor])] : ['', l.sizes(l.type(node.outputs[0]).shape)];
    l.w.node('Resize', [x, '', ...scale], attributes, output);
  },
  boundaryRows: (l, node, [x = ''], output) => {
    const { rows } = node.params;
    const axis = l.w.ints([2]);
    const first = l.w.node('Slice', [x, l.w.ints([0]), l.w.ints([rows]), axis]);
    const last = l.w.node('Slice', [x, l.w.ints([-rows]), l.w.ints([2 ** 31]), axis]);
    const leading = l.w.ints([0]);
    l.w.node('Concat', [l.w.node('Unsqueeze', [first, leading]), l.w.node('Unsqueeze', [last, leading])], { axis: 0 }, output);
  },
  padRows: (l, node, [x = '', halo = ''], output) => {
    const { rows } = node.params;
    const [above, below] = [l.w.temporary(), l.w.temporary()];
    l.w.nodes('Split', [halo, l.w.ints([rows, rows])], [above, below], { axis: 2 });
    l.w.node('Concat', [above, x, below], { axis: 2 }, output);
  },
  collective: (_l, node) => {
    throw new SdxlError('GRAPH_INVALID', `${node.name}: a collective cannot be lowered into a segment`, { fields: { node: node.name } });
  },
};

/** Mean and biased variance per image and group, `[b, groups, 1]` each. */
interface Moments {
  readonly mean: string;
  readonly variance: string;
}

function groupMoments(l: Lowering, x: string, { shape }: TensorType, groups: number): Moments {
  const [, channels = 1, height = 1, width = 1] = shape;
  const elements = productOfDims([Number(channels) / groups, height, width]);
  const rows = l.w.node('Reshape', [x, l.w.ints([0, groups, -1])]);
  const mean = l.w.node('ReduceMean', [rows], { axes: [2], keepdims: 1 });
  const centred = l.w.node('Sub', [rows, mean]);
  const m2 = l.w.node('ReduceSumSquare', [centred], { axes: [2], keepdims: 1 });
  const count = l.w.node('Cast', [l.sizes([elements])], { to: 1 });
  return { mean, variance: l.w.node('Div', [m2, count]) };
}

/** Chan's merge for slices of equal size: `[ranks, b, groups, 2]` → the whole's moments. */
function mergeMoments(l: Lowering, moments: string, ranks: number): Moments {
  const [means, variances] = [l.w.temporary(), l.w.temporary()];
  l.w.nodes('Split', [moments, l.w.ints([1, 1])], [means, variances], { axis: 3 });
  const over = { axes: [0], keepdims: 0 };
  const mean = l.w.node('ReduceMean', [means], over);
  const within = l.w.node('ReduceMean', [variances], over);
  if (ranks === 1) return { mean, variance: within };
  const deviations = l.w.node('Sub', [means, mean]);
  const between = l.w.node('ReduceMean', [l.w.node('Mul', [deviations, deviations])], over);
  return { mean, variance: l.w.node('Add', [within, between]) };
}

/**
 * (x − mean)·rstd·weight + bias in one pass over x: with images folded into channels it is inference-mode BatchNormalization,
 * whose per-channel scale and bias are computed here from the moments.
 */
function groupNormalize(
  l: Lowering,
  x: string,
  { shape }: TensorType,
  { mean, variance }: Moments,
  { groups, epsilon }: { readonly groups: number; readonly epsilon: number },
  weight: string,
  bias: string,
  output: string,
): void {
  const [batch = 1, channelsDim = 1, height = 1, width = 1] = shape;
  const channels = Number(channelsDim);
  const perGroup = l.w.ints([1, groups, channels / groups]);
  const deviation = l.w.node('Sqrt', [l.w.node('Add', [variance, l.w.floats([], [epsilon])])]);
  const scale = l.w.node('Div', [l.w.node('Reshape', [weight, perGroup]), deviation]);
  const shift = l.w.node('Sub', [l.w.node('Reshape', [bias, perGroup]), l.w.node('Mul', [mean, scale])]);
  const flat = l.w.ints([-1]);
  const flatScale = l.w.node('Reshape', [scale, flat]);
  const zeros = l.w.node('Mul', [flatScale, l.w.floats([], [0])]);
  const ones = l.w.node('Add', [zeros, l.w.floats([], [1])]);
  const folded = l.w.node('Reshape', [x, l.sizes([1, productOfDims([batch, channels]), height, width])]);
  const operands = [folded, flatScale, l.w.node('Reshape', [shift, flat]), zeros, ones];
  const normed = l.w.node('BatchNormalization', operands, { epsilon: { float: 0 } });
  l.w.node('Reshape', [normed, l.sizes(shape)], {}, output);
}
