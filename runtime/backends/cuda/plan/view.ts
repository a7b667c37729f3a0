/**
 * Views: where the elements of a value lie in a buffer. Movement ops (transpose, reshape, slice) change views, not memory, wherever
 * strides can express them. Images are held channels last, so an image `[b, c, h, w]` has stride 1 along `c`.
 */

/** `half` is the component's 16-bit element type: fp16, or bf16 where fp16's range does not suffice. */
export type ElementType = 'half' | 'f32' | 'i64';

export const elementBytes: Readonly<Record<ElementType, number>> = { half: 2, f32: 4, i64: 8 };

/** A buffer's number within its program. */
export type BufferId = number;

/** Shape and strides are in elements and in the order of the value's logical axes. */
export interface View {
  readonly buffer: BufferId;
  readonly offset: number;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Rows of equal length at equal distance: what a matrix product reads and writes. */
export interface MatrixView {
  readonly buffer: BufferId;
  readonly offset: number;
  readonly type: ElementType;
  readonly rows: number;
  readonly columns: number;
  /** Distance of two rows. */
  readonly stride: number;
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

/** Strides of dense elements whose axes lie in memory in the given order, outermost first. */
export function stridesInOrder(shape: readonly number[], order: readonly number[]): number[] {
  const strides = shape.map(() => 0);
  let step = 1;
  for (const axis of order.toReversed()) {
    strides[axis] = step;
    step *= shape[axis] ?? 1;
  }
  return strides;
}

/**
 * The order in which a value's axes lie in memory: images `[b, c, h, w]` as b, h, w, c; stacked images `[n, b, c, h, w]` as
 * n, b, h, w, c; everything else as written, statistics (f32) too.
 */
export function memoryOrder(rank: number, type: ElementType = 'half'): readonly number[] {
  if (rank === 4 && type !== 'f32') return [0, 2, 3, 1];
  if (rank === 5 && type !== 'f32') return [0, 1, 3, 4, 2];
  return Array.from({ length: rank }, (_, axis) => axis);
}

export function permute(view: View, permutation: readonly number[]): View {
  return {
    ...view,
    shape: permutation.map((axis) => view.shape[axis] ?? 1),
    strides: permutation.map((axis) => view.strides[axis] ?? 0),
  };
}

export function sliceView(view: View, axis: number, start: number, end: number): View {
  return { ...view, offset: view.offset + start * (view.strides[axis] ?? 0), shape: view.shape.with(axis, end - start) };
}

/** The same elements under another shape, or undefined where strides cannot express it. Axes of size 1 are free. */
export function reshapeView(view: View, shape: readonly number[]): View | undefined {
  const old = mergeAxes(view);
  const strides: number[] = shape.map(() => 0);
  let group = old.length - 1;
  let left = old[group]?.size ?? 1;
  let stride = old[group]?.stride ?? 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] ?? 1;
    if (size === 1) {
      strides[axis] = 1;
      continue;
    }
    if (left === 1) {
      group--;
      left = old[group]?.size ?? 1;
      stride = old[group]?.stride ?? 1;
    }
    if (left % size !== 0) return undefined;
    strides[axis] = stride;
    stride *= size;
    left /= size;
  }
  return { ...view, shape, strides };
}

/** Rows over the last axis, which must be dense; undefined where the leading axes are not evenly spaced. */
export function matrixView(view: View): MatrixView | undefined {
  const columns = view.shape.at(-1) ?? 1;
  if (columns > 1 && view.strides.at(-1) !== 1) return undefined;
  const rows = product(view.shape) / columns;
  const leading = mergeAxes({ ...view, shape: view.shape.slice(0, -1), strides: view.strides.slice(0, -1) });
  if (leading.length > 1) return undefined;
  return { buffer: view.buffer, offset: view.offset, type: view.type, rows, columns, stride: leading[0]?.stride ?? columns };
}

/** Whether the elements fill a block of memory without gaps in the order {@link memoryOrder} gives. */
export function isDense(view: View): boolean {
  const strides = stridesInOrder(view.shape, memoryOrder(view.shape.length, view.type));
  return view.shape.every((size, axis) => size === 1 || strides[axis] === view.strides[axis]);
}

/** The fewest axes that visit the same elements in the same order: axes of size 1 go, neighbours that follow on join. */
function mergeAxes(view: Pick<View, 'shape' | 'strides'>): { size: number; stride: number }[] {
  const merged: { size: number; stride: number }[] = [];
  view.shape.forEach((size, axis) => {
    if (size === 1) return;
    const stride = view.strides[axis] ?? 0;
    const before = merged.at(-1);
    if (before?.stride === stride * size) {
      before.size *= size;
      before.stride = stride;
    } else merged.push({ size, stride });
  });
  return merged;
}
