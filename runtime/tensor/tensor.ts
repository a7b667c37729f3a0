/** A dense row-major host tensor: dtype, shape and the typed array that holds exactly `elementCount(shape)` elements. */
import { dtypes, type DType, type DTypeArrays } from './dtype.js';

export type Shape = readonly number[];

export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: Shape;
  readonly data: DTypeArrays[D];
}

export function elementCount(shape: Shape): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

export function byteLength(dtype: DType, shape: Shape): number {
  return elementCount(shape) * dtypes[dtype].sizeBytes;
}

/** Wraps `data` without a copy. */
export function tensor<D extends DType>(dtype: D, shape: Shape, data: DTypeArrays[D]): Tensor<D> {
  if (data.length !== elementCount(shape)) {
    throw new RangeError(`${dtype}[${shape.join(', ')}] needs ${String(elementCount(shape))} elements, got ${String(data.length)}`);
  }
  return { dtype, shape, data };
}

export function float32(shape: Shape, data: Float32Array = new Float32Array(elementCount(shape))): Tensor<'f32'> {
  return tensor('f32', shape, data);
}

export function int64(shape: Shape, values: readonly (number | bigint)[]): Tensor<'i64'> {
  return tensor('i64', shape, BigInt64Array.from(values, BigInt));
}
