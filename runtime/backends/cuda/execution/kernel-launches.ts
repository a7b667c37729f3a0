/** Launches of this program's own kernels over tokens and of movement; see kernels/tokens.cu and kernels/movement.cu. */
import { SdxlError } from '../../../errors/index.js';
import { KernelArguments, type KernelArgument } from '../libraries/index.js';
import type { OperationOf, PointwiseFunction } from '../plan/operations.js';
import { product, type MatrixView, type View } from '../plan/view.js';
import type { KernelName, KernelSet } from './kernels.js';
import type { Addresses, KernelLaunch } from './launch.js';

const pointwiseFunctions = ['copy', 'add', 'mul', 'affine', 'silu', 'gelu', 'quickGelu'] as const satisfies PointwiseFunction[];
const axes = 5;
/** A warp each. */
const rowsPerBlock = 4;
const layerNormOctets = [1, 2, 3, 4, 5, 8] as const;
/** What kernels/tokens.cu holds in shared memory at most. */
const causalLimits = { tokens: 128, dim: 128 };

export function layerNormLaunch(
  kernels: KernelSet,
  addresses: Addresses,
  operation: OperationOf<'layerNorm'>,
  multiprocessors: number,
): KernelLaunch {
  const { x, y, weight, bias, epsilon, name } = operation;
  const needed = Math.ceil(x.columns / 8 / 32);
  const octets = layerNormOctets.find((count) => count >= needed);
  if (octets === undefined || x.columns % 8 !== 0) throw unsupported(name, `a layer norm over ${String(x.columns)} columns`);
  const kernelName: KernelName = `layerNorm${octets}`;
  const values = new KernelArguments([
    ...matrixArguments(x, addresses),
    ...matrixArguments(y, addresses),
    { pointer: addresses.buffer(weight) },
    { pointer: addresses.buffer(bias) },
    { i32: x.rows },
    { i32: x.columns },
    { f32: epsilon },
  ]);
  const kernel = kernels[kernelName];
  // A wave of blocks: each keeps the weights for several rows.
  const wave = Math.max(1, kernel.blocksPerMultiprocessor(rowsPerBlock * 32)) * multiprocessors;
  const grid = [Math.min(wave, Math.ceil(x.rows / rowsPerBlock))] as const;
  return { kernel, grid, block: [rowsPerBlock * 32], sharedBytes: 0, values };
}

/** Rows in memory: an address, and elements from one row to the next. */
interface Rows {
  readonly pointer: bigint;
  readonly stride: number;
}

export function gegluLaunch(kernels: KernelSet, addresses: Addresses, { x, y }: OperationOf<'geglu'>): KernelLaunch {
  const rowsOf = (matrix: MatrixView): Rows => ({ pointer: addresses.of(matrix), stride: matrix.stride });
  return gegluKernelLaunch(kernels, rowsOf(x), rowsOf(y), y.rows, y.columns);
}

/** From `[rows, 2 · columns]` at x to `[rows, columns]` at y. */
export function gegluKernelLaunch(kernels: KernelSet, x: Rows, y: Rows, rows: number, columns: number): KernelLaunch {
  const values = new KernelArguments([
    ...[x, y].flatMap(({ pointer, stride }): KernelArgument[] => [{ pointer }, { i64: stride }]),
    { i32: columns },
  ]);
  const octets = Math.ceil(columns / 8);
  const block = Math.min(256, Math.ceil(octets / 32) * 32);
  return { kernel: kernels.geglu, grid: [Math.ceil(octets / block), rows], block: [block], sharedBytes: 0, values };
}

export function softmaxLaunch(kernels: KernelSet, addresses: Addresses, { x, y, factor, name }: OperationOf<'softmax'>): KernelLaunch {
  if (x.columns % 8 !== 0) throw unsupported(name, `a softmax over ${String(x.columns)} columns`);
  const values = new KernelArguments([
    ...matrixArguments(x, addresses),
    ...matrixArguments(y, addresses),
    { i32: x.columns },
    { f32: factor },
  ]);
  return { kernel: kernels.softmax, grid: [x.rows], block: [512], sharedBytes: 0, values };
}

export function causalAttentionLaunch(kernels: KernelSet, addresses: Addresses, operation: OperationOf<'attention'>): KernelLaunch {
  const { q, k, v, y, heads, scale, name } = operation;
  const [batch = 1, tokens = 1, channels = 1] = q.shape;
  const dim = channels / heads;
  if (tokens > causalLimits.tokens || dim > causalLimits.dim) {
    throw unsupported(name, `causal attention over ${String(tokens)} tokens of ${String(dim)} channels a head`);
  }
  const strides = (view: View): KernelArgument[] => [
    { pointer: addresses.of(view) },
    { i64: view.strides[0] ?? 0 },
    { i64: view.strides[1] ?? 0 },
  ];
  const values = new KernelArguments([...[q, k, v, y].flatMap(strides), { i32: tokens }, { i32: dim }, { f32: scale }]);
  const block = 256;
  const sharedBytes = 2 * 2 * tokens * dim + (block / 32) * 128 * 4;
  kernels.causalAttention.setMaxDynamicSharedMemory(Math.max(sharedBytes, 48 << 10));
  return { kernel: kernels.causalAttention, grid: [heads, batch], block: [block], sharedBytes, values };
}

export function embeddingLaunch(kernels: KernelSet, addresses: Addresses, operation: OperationOf<'embedding'>): KernelLaunch {
  const { table, rows, width, ids, y } = operation;
  const values = new KernelArguments([
    { pointer: addresses.buffer(table) },
    { i32: rows },
    { i32: width },
    { pointer: addresses.of(ids) },
    ...matrixArguments(y, addresses),
  ]);
  return { kernel: kernels.embedding, grid: [product(ids.shape)], block: [128], sharedBytes: 0, values };
}

export function selectTokenLaunch(kernels: KernelSet, addresses: Addresses, { x, index, y }: OperationOf<'selectToken'>): KernelLaunch {
  const [batch = 1, tokens = 1, columns = 1] = x.shape;
  const values = new KernelArguments([
    { pointer: addresses.of(x) },
    { i64: x.strides[0] ?? 0 },
    { i64: x.strides[1] ?? 0 },
    { i32: tokens },
    { i32: columns },
    { pointer: addresses.of(index) },
    ...matrixArguments(y, addresses),
  ]);
  return { kernel: kernels.selectToken, grid: [batch], block: [128], sharedBytes: 0, values };
}

export function sinusoidLaunch(kernels: KernelSet, addresses: Addresses, operation: OperationOf<'sinusoid'>): KernelLaunch {
  const { x, y, flipSinToCos, shift, maxPeriod } = operation;
  const values = new KernelArguments([
    { pointer: addresses.of(x) },
    ...matrixArguments(y, addresses),
    { i32: y.columns },
    { i32: flipSinToCos ? 1 : 0 },
    { f32: shift },
    { f32: maxPeriod },
  ]);
  return { kernel: kernels.sinusoid, grid: [y.rows], block: [128], sharedBytes: 0, values };
}

export function upsampleLaunch(kernels: KernelSet, addresses: Addresses, { x, y, factor }: OperationOf<'upsample'>): KernelLaunch {
  const [batch = 1, channels = 8, height = 1, width = 1] = y.shape;
  const strides = (view: View): KernelArgument[] => [0, 2, 3].map((axis) => ({ i64: view.strides[axis] ?? 0 }));
  const values = new KernelArguments([
    { pointer: addresses.of(x) },
    ...strides(x),
    { pointer: addresses.of(y) },
    ...strides(y),
    { i32: channels },
    { i32: factor },
  ]);
  const block = Math.min(256, Math.ceil(channels / 8));
  return { kernel: kernels.upsample, grid: [width, height, batch], block: [block], sharedBytes: 0, values };
}

export function pointwiseLaunch(kernels: KernelSet, addresses: Addresses, operation: OperationOf<'pointwise'>): KernelLaunch {
  const { x, b, y } = operation;
  const layout = commonAxes(b === undefined ? [x, y] : [x, y, b]);
  const [xStrides = [], yStrides = [], bStrides = []] = layout.strides;
  const octets =
    (layout.sizes[0] ?? 1) % 8 === 0 &&
    xStrides[0] === 1 &&
    yStrides[0] === 1 &&
    (b === undefined || bStrides[0] === 0 || bStrides[0] === 1) &&
    [x, y].every((view) => view.offset % 8 === 0) &&
    [...xStrides.slice(1), ...yStrides.slice(1)].every((stride) => stride % 8 === 0);
  const sizes = octets ? layout.sizes.with(0, (layout.sizes[0] ?? 8) / 8) : layout.sizes;
  const scaled = (strides: readonly number[]): KernelArgument[] =>
    Array.from({ length: axes }, (_, axis) => ({ i64: (strides[axis] ?? 0) * (octets && axis === 0 ? 8 : 1) }));
  const count = product(sizes);
  const values = new KernelArguments([
    { i32: pointwiseFunctions.indexOf(operation.function) },
    { i32: octets ? 1 : 0 },
    { i64: count },
    ...sizeArguments(sizes),
    { pointer: addresses.of(x) },
    ...scaled(xStrides),
    { pointer: b === undefined ? 0n : addresses.of(b) },
    ...scaled(bStrides),
    { pointer: addresses.of(y) },
    ...scaled(yStrides),
    { f32: operation.factor ?? 1 },
    { f32: operation.offset ?? 0 },
  ]);
  return { kernel: kernels.pointwise, grid: gridOf(count), block: [256], sharedBytes: 0, values };
}

/** From f32 in the graph's own shape and order at `source` to `view`, whose channels may be padded. */
export function importLaunch(kernels: KernelSet, source: bigint, target: bigint, view: View, shape: readonly number[]): KernelLaunch {
  // The padded axis comes second from the innermost: the kernel compares it with the logical size.
  const padded = Math.max(
    0,
    view.shape.findIndex((size, axis) => size !== shape[axis]),
  );
  const order = [...view.shape.keys()].filter((axis) => axis !== padded).reverse();
  const innermost = order[0] ?? padded;
  const sorted = view.shape.length === 1 ? [padded] : [innermost, padded, ...order.slice(1)];
  const withUnit = view.shape.length === 1;
  const dense = denseStrides(shape);
  const sizes = withUnit ? [1, view.shape[0] ?? 1] : sorted.map((axis) => view.shape[axis] ?? 1);
  const pick = (strides: readonly number[]): number[] => (withUnit ? [0, strides[0] ?? 1] : sorted.map((axis) => strides[axis] ?? 0));
  const count = product(sizes);
  const values = new KernelArguments([
    { pointer: source },
    { pointer: target },
    { i64: count },
    ...sizeArguments(sizes),
    ...strideArguments(pick(view.strides)),
    { i32: shape[padded] ?? 1 },
    ...strideArguments(pick(dense)),
  ]);
  return { kernel: kernels.importValues, grid: gridOf(count), block: [256], sharedBytes: 0, values };
}

/** From a view to f32 in the graph's own shape and order at `target`; padding is left out. */
export function exportLaunch(kernels: KernelSet, source: bigint, view: View, shape: readonly number[], target: bigint): KernelLaunch {
  const count = product(shape);
  const values = new KernelArguments([
    { pointer: source },
    ...strideArguments(view.strides.toReversed()),
    { pointer: target },
    { i64: count },
    ...sizeArguments(shape.toReversed()),
  ]);
  return { kernel: kernels.exportValues, grid: gridOf(count), block: [256], sharedBytes: 0, values };
}

function matrixArguments(matrix: MatrixView, addresses: Addresses): KernelArgument[] {
  return [{ pointer: addresses.of(matrix) }, { i64: matrix.stride }];
}

/** Sizes of the four innermost axes; the fifth follows from the count. */
function sizeArguments(sizes: readonly number[]): KernelArgument[] {
  if (sizes.length > axes) throw new Error(`${String(sizes.length)} axes`);
  return Array.from({ length: axes - 1 }, (_, axis) => ({ i32: sizes[axis] ?? 1 }));
}

function strideArguments(strides: readonly number[]): KernelArgument[] {
  return Array.from({ length: axes }, (_, axis) => ({ i64: strides[axis] ?? 0 }));
}

function denseStrides(shape: readonly number[]): number[] {
  return shape.map((_, axis) => product(shape.slice(axis + 1)));
}

/** Axes from the innermost of the second view (which is written); those that follow on in every view are joined. */
function commonAxes(views: readonly View[]): { readonly sizes: readonly number[]; readonly strides: readonly (readonly number[])[] } {
  const [, written] = views;
  if (written === undefined) throw new Error('nothing to write');
  const order = [...written.shape.keys()]
    .filter((axis) => written.shape[axis] !== 1)
    .sort((a, b) => (written.strides[a] ?? 0) - (written.strides[b] ?? 0));
  const sizes: number[] = [];
  const strides: number[][] = views.map(() => []);
  for (const axis of order) {
    const size = written.shape[axis] ?? 1;
    const last = sizes.length - 1;
    const follows = last >= 0 && views.every((view, index) => view.strides[axis] === (strides[index]?.[last] ?? 0) * (sizes[last] ?? 1));
    if (follows) sizes[last] = (sizes[last] ?? 1) * size;
    else {
      sizes.push(size);
      views.forEach((view, index) => strides[index]?.push(view.strides[axis] ?? 0));
    }
  }
  return { sizes: sizes.length === 0 ? [1] : sizes, strides };
}

function gridOf(count: number): readonly [number] {
  return [Math.max(1, Math.min(4096, Math.ceil(count / 256)))];
}

function unsupported(name: string, what: string): SdxlError {
  return new SdxlError('MODEL_UNSUPPORTED', `the CUDA backend cannot run ${name}: ${what}; use --backend Onnx`, { fields: { node: name } });
}
