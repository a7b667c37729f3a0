/**
 * The op catalogue: every operation a graph may hold, with its parameters and its shape rule, grouped by role.
 *
 * One table serves every consumer: verifier, printer, sharding pass and each backend's lowering are mapped over
 * {@link OpName}, so an op added here does not compile until all of them handle it. Ops are at the level of library kernels
 * (convolution, attention, norms): a backend lowers each to one call and may fuse neighbours by rewriting to ops of this
 * same table. Images are logically `[batch, channels, height, width]`, tokens `[batch, tokens, channels]`; physical
 * layout and storage type are the backend's.
 */
import type { DType } from '../tensor/index.js';
import { addDims, equalDims, equalShapes, ceilDivDim, mulDims, printShape, productOfDims, type Dim } from './dim.js';
import type { CollectiveLabel } from './displacement.js';

export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

export interface Padding {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
}

/** The ranks that take part in a collective: all that hold patches of one CFG branch, or every rank. */
export type CollectiveGroup = 'patch' | 'world';

/**
 * What one payload of a collective does with its value.
 * - `allGather`: concatenates the ranks' values along `axis`, in rank order.
 * - `moments`: gathers `[1, b, groups, 2]` along axis 0; apart from `allGather` because displaced runs join moments by a rule.
 * - `neighbors`: input `[2, …]`; index 0 goes to the previous rank of the group and index 1 to the next. Output `[2, …]`:
 *   index 0 came from the previous rank, index 1 from the next; zeros at the ends of the row of ranks.
 */
export type CollectivePayload =
  { readonly kind: 'allGather'; readonly axis: number } | { readonly kind: 'moments' } | { readonly kind: 'neighbors' };

export interface OpParams {
  // Linear algebra.
  /** (x `[…, in]`, weight `[out, in]`, bias? `[out]`) → `[…, out]`. */
  linear: Record<never, never>;
  /** (x `[b, cin, h, w]`, weight `[cout, cin, kh, kw]`, bias? `[cout]`) → `[b, cout, h', w']`; cross-correlation. */
  conv2d: { readonly stride: number; readonly padding: Padding };
  /** softmax(q·kᵀ·scale)·v per head. (q `[b, n, heads·d]`, k `[b, m, heads·d]`, v `[b, m, heads·d]`) → q's shape. */
  attention: { readonly heads: number; readonly scale: number; readonly causal: boolean };

  // Normalisation.
  /** Over the last axis. (x, weight, bias) → x's shape. */
  layerNorm: { readonly epsilon: number };
  /** (x `[b, c, h, w]`, weight `[c]`, bias `[c]`) → x's shape; biased variance over each group's channels, rows and columns. */
  groupNorm: { readonly groups: number; readonly epsilon: number };
  /**
   * Per image and group of a slice: mean and M2/count (the biased variance), two passes, never E[x²]−E[x]².
   * (x `[b, c, h, w]`) → `[1, b, groups, 2]` f32.
   */
  groupMoments: { readonly groups: number };
  /**
   * Group normalisation with moments taken elsewhere: (x `[b, c, h, w]`, moments `[ranks, b, groups, 2]`, weight, bias) →
   * x's shape. Slices are of equal size, so Chan's merge is mean = avg(meanᵢ), var = avg(varᵢ) + avg((meanᵢ − mean)²)
   * (Chan, Golub, LeVeque 1979, eq. 2.1 for equal counts).
   */
  groupNormalize: { readonly groups: number; readonly epsilon: number };

  // Elementwise.
  /** (a, b) with equal ranks; a dimension of 1 in b broadcasts. */
  add: Record<never, never>;
  mul: Record<never, never>;
  activation: { readonly kind: 'silu' | 'gelu' | 'quickGelu' };
  /** x · factor + offset. */
  affine: { readonly factor: number; readonly offset: number };

  // Look-ups.
  /** (table `[rows, d]`, ids `[b, n]` i64) → `[b, n, d]`. */
  embedding: Record<never, never>;
  /** (x `[b, n, d]`, index `[b]` i64) → `[b, d]`. */
  selectToken: Record<never, never>;
  /**
   * Sinusoidal features of (values `[n]`) → `[n, dim]`: frequency exp(−ln(maxPeriod)·i/(dim/2 − shift)), sines first unless
   * `flipSinToCos` (diffusers 0.36 `get_timestep_embedding`).
   */
  sinusoid: { readonly dim: number; readonly flipSinToCos: boolean; readonly shift: number; readonly maxPeriod: number };

  // Movement.
  reshape: { readonly shape: readonly Dim[] };
  transpose: { readonly permutation: readonly number[] };
  concat: { readonly axis: number };
  /** Elements `start … end−1` of one axis. */
  slice: { readonly axis: number; readonly start: number; readonly end: number };
  /** `size`: rows and columns that are kept of the result, fewer than `factor` less than all; undefined: all. */
  upsampleNearest: { readonly factor: number; readonly size?: readonly [Dim, Dim] };

  // Sharding: what the parallel pass inserts.
  /** First and last `rows` rows of (x `[b, c, h, w]`) → `[2, b, c, rows, w]`. */
  boundaryRows: { readonly rows: number };
  /** (x `[b, c, h, w]`, halo `[b, c, 2·rows, w]`) → `[b, c, h + 2·rows, w]`: the halo's first half above, its second below. */
  padRows: { readonly rows: number };
  /**
   * The only op with several outputs, one per payload; see {@link CollectivePayload}. `ranks` is the size of the group.
   * `label` names its purpose in metrics.
   */
  collective: {
    readonly group: CollectiveGroup;
    readonly ranks: number;
    readonly label: CollectiveLabel;
    readonly payloads: readonly CollectivePayload[];
  };
}
export type OpName = keyof OpParams;

/** A shape rule failed: says which requirement. The builder and verifier add the node's name. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError';
}

type ShapeRule<Op extends OpName> = (params: OpParams[Op], inputs: readonly TensorType[]) => TensorType[];

const sameAsFirst = (_: unknown, inputs: readonly TensorType[]): TensorType[] => [at(inputs, 0)];

/** Output types from parameters and input types; throws {@link ShapeError}. */
const shapeRules: { readonly [Op in OpName]: ShapeRule<Op> } = {
  linear: (_, inputs) => {
    const [x, weight] = [at(inputs, 0), rank(at(inputs, 1), 2, 'weight')];
    const features = x.shape.at(-1) ?? 0;
    same(features, dim(weight, 1), 'input features of x and weight');
    if (inputs[2] !== undefined) sameShape(inputs[2].shape, [dim(weight, 0)], 'bias');
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), dim(weight, 0)] }];
  },
  conv2d: ({ stride, padding }, inputs) => {
    const [x, weight] = [rank(at(inputs, 0), 4, 'x'), rank(at(inputs, 1), 4, 'weight')];
    same(dim(x, 1), dim(weight, 1), 'input channels of x and weight');
    if (inputs[2] !== undefined) sameShape(inputs[2].shape, [dim(weight, 0)], 'bias');
    const extent = (size: Dim, pad: number, kernel: Dim): Dim => {
      if (typeof kernel !== 'number') throw new ShapeError('kernel sizes must be numbers');
      const steps = ceilDivDim(addDims(size, pad - kernel + 1), stride);
      if (steps === undefined) throw new ShapeError(`stride ${String(stride)} does not divide ${String(size)}`);
      return steps;
    };
    return [
      {
        dtype: x.dtype,
        shape: [
          dim(x, 0),
          dim(weight, 0),
          extent(dim(x, 2), padding.top + padding.bottom, dim(weight, 2)),
          extent(dim(x, 3), padding.left + padding.right, dim(weight, 3)),
        ],
      },
    ];
  },
  attention: ({ heads }, inputs) => {
    const [q, k, v] = [rank(at(inputs, 0), 3, 'q'), rank(at(inputs, 1), 3, 'k'), rank(at(inputs, 2), 3, 'v')];
    sameShape(k.shape, v.shape, 'k and v');
    same(dim(q, 2), dim(k, 2), 'channels of q and k');
    same(dim(q, 0), dim(k, 0), 'batch of q and k');
    if (Number(dim(q, 2)) % heads !== 0) throw new ShapeError(`${String(heads)} heads do not divide ${String(dim(q, 2))}`);
    return [q];
  },
  layerNorm: (_, inputs) => {
    const x = at(inputs, 0);
    for (const affine of inputs.slice(1)) sameShape(affine.shape, [x.shape.at(-1) ?? 0], 'weight and bias');
    return [x];
  },
  groupNorm: ({ groups }, inputs) => {
    const x = grouped(at(inputs, 0), groups);
    for (const affine of inputs.slice(1)) sameShape(affine.shape, [dim(x, 1)], 'weight and bias');
    return [x];
  },
  groupMoments: ({ groups }, inputs) => {
    const x = grouped(at(inputs, 0), groups);
    return [{ dtype: 'f32', shape: [1, dim(x, 0), groups, 2] }];
  },
  groupNormalize: ({ groups }, inputs) => {
    const x = grouped(at(inputs, 0), groups);
    const moments = rank(at(inputs, 1), 4, 'moments');
    sameShape(moments.shape.slice(1), [dim(x, 0), groups, 2], 'moments');
    for (const affine of inputs.slice(2)) sameShape(affine.shape, [dim(x, 1)], 'weight and bias');
    return [x];
  },
  add: (_, inputs) => [broadcast(at(inputs, 0), at(inputs, 1))],
  mul: (_, inputs) => [broadcast(at(inputs, 0), at(inputs, 1))],
  activation: sameAsFirst,
  affine: sameAsFirst,
  embedding: (_, inputs) => {
    const [table, ids] = [rank(at(inputs, 0), 2, 'table'), rank(at(inputs, 1), 2, 'ids')];
    return [{ dtype: table.dtype, shape: [...ids.shape, dim(table, 1)] }];
  },
  selectToken: (_, inputs) => {
    const [x, index] = [rank(at(inputs, 0), 3, 'x'), rank(at(inputs, 1), 1, 'index')];
    same(dim(x, 0), dim(index, 0), 'batch of x and index');
    return [{ dtype: x.dtype, shape: [dim(x, 0), dim(x, 2)] }];
  },
  sinusoid: (params, inputs) => [{ dtype: 'f32', shape: [dim(rank(at(inputs, 0), 1, 'values'), 0), params.dim] }],
  reshape: ({ shape }, inputs) => {
    const x = at(inputs, 0);
    same(productOfDims(x.shape), productOfDims(shape), 'element counts');
    return [{ dtype: x.dtype, shape }];
  },
  transpose: ({ permutation }, inputs) => {
    const x = rank(at(inputs, 0), permutation.length, 'x');
    return [{ dtype: x.dtype, shape: permutation.map((axis) => dim(x, axis)) }];
  },
  concat: ({ axis }, inputs) => {
    const first = at(inputs, 0);
    for (const other of inputs.slice(1)) sameExcept(first, other, axis);
    const total = inputs.reduce<Dim>((sum, input) => addDims(sum, dim(input, axis)), 0);
    return [{ dtype: first.dtype, shape: first.shape.with(axis, total) }];
  },
  slice: ({ axis, start, end }, inputs) => {
    const x = at(inputs, 0);
    const size = dim(x, axis);
    if (typeof size === 'number' && (start < 0 || end > size || start >= end)) {
      throw new ShapeError(`slice ${String(start)}…${String(end)} of axis ${String(axis)} in ${printShape(x.shape)}`);
    }
    return [{ dtype: x.dtype, shape: x.shape.with(axis, end - start) }];
  },
  upsampleNearest: ({ factor, size }, inputs) => {
    const x = rank(at(inputs, 0), 4, 'x');
    const whole = [mulDims(dim(x, 2), factor), mulDims(dim(x, 3), factor)];
    size?.forEach((kept, axis) => {
      const needed = ceilDivDim(kept, factor);
      if (needed === undefined || !equalDims(needed, dim(x, 2 + axis)))
        throw new ShapeError(`${String(kept)} is no size that ${String(dim(x, 2 + axis))} times ${String(factor)} is cut to`);
    });
    return [{ dtype: x.dtype, shape: [dim(x, 0), dim(x, 1), ...(size ?? whole)] }];
  },
  boundaryRows: ({ rows }, inputs) => {
    const x = rank(at(inputs, 0), 4, 'x');
    return [{ dtype: x.dtype, shape: [2, dim(x, 0), dim(x, 1), rows, dim(x, 3)] }];
  },
  padRows: ({ rows }, inputs) => {
    const [x, halo] = [rank(at(inputs, 0), 4, 'x'), rank(at(inputs, 1), 4, 'halo')];
    sameShape(halo.shape, [dim(x, 0), dim(x, 1), 2 * rows, dim(x, 3)], 'halo');
    return [{ dtype: x.dtype, shape: x.shape.with(2, addDims(dim(x, 2), 2 * rows)) }];
  },
  collective: ({ payloads, ranks }, inputs) => {
    if (payloads.length !== inputs.length) throw new ShapeError(`${String(payloads.length)} payloads for ${String(inputs.length)} values`);
    return payloads.map((payload, position) => {
      const x = at(inputs, position);
      switch (payload.kind) {
        case 'allGather':
          return { dtype: x.dtype, shape: x.shape.with(payload.axis, mulDims(dim(x, payload.axis), ranks)) };
        case 'moments':
          sameShape([dim(x, 0), dim(x, 3)], [1, 2], 'the outer axes of moments');
          return { dtype: x.dtype, shape: x.shape.with(0, ranks) };
        case 'neighbors':
          same(dim(x, 0), 2, 'the leading axis of a neighbour payload');
          return x;
      }
    });
  },
};

/** Applies the rule of any op; the one place where params and rule meet untyped. */
export function inferShapes<Op extends OpName>(op: Op, params: OpParams[Op], inputs: readonly TensorType[]): TensorType[] {
  const rule: ShapeRule<Op> = shapeRules[op];
  return rule(params, inputs);
}

function at(inputs: readonly TensorType[], position: number): TensorType {
  const input = inputs[position];
  if (input === undefined) throw new ShapeError(`input ${String(position)} is missing`);
  return input;
}

function dim(type: TensorType, axis: number): Dim {
  const size = type.shape[axis];
  if (size === undefined) throw new ShapeError(`no axis ${String(axis)} in ${printShape(type.shape)}`);
  return size;
}

function rank(type: TensorType, expected: number, name: string): TensorType {
  if (type.shape.length !== expected) throw new ShapeError(`${name} must have ${String(expected)} axes, has ${printShape(type.shape)}`);
  return type;
}

function same(a: Dim, b: Dim, what: string): void {
  if (!equalDims(a, b)) throw new ShapeError(`${what} differ: ${String(a)} and ${String(b)}`);
}

function sameShape(found: readonly Dim[], expected: readonly Dim[], what: string): void {
  if (!equalShapes(found, expected)) throw new ShapeError(`${what}: expected ${printShape(expected)}, found ${printShape(found)}`);
}

function sameExcept(a: TensorType, b: TensorType, axis: number): void {
  sameShape(b.shape.with(axis, 0), a.shape.with(axis, 0), `concat operands besides axis ${String(axis)}`);
}

function grouped(type: TensorType, groups: number): TensorType {
  const x = rank(type, 4, 'x');
  if (Number(dim(x, 1)) % groups !== 0) {
    throw new ShapeError(`${String(groups)} groups do not divide ${String(dim(x, 1))} channels`);
  }
  return x;
}

function broadcast(a: TensorType, b: TensorType): TensorType {
  if (a.shape.length !== b.shape.length) throw new ShapeError(`ranks differ: ${printShape(a.shape)} and ${printShape(b.shape)}`);
  b.shape.forEach((size, axis) => {
    if (size !== 1) same(dim(a, axis), size, `axis ${String(axis)} of the operands`);
  });
  return a;
}
