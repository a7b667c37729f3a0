/** Tensor maps: what bulk copies of tiles into shared memory read (CUtensorMap; Hopper and newer). */
import type { Driver } from './driver.js';
import type { DevicePointer } from './memory.js';
import { NativeMemory } from './native-memory.js';

export interface TensorMapOptions {
  readonly dtype: 'f16' | 'bf16';
  /** 16-byte aligned. */
  readonly address: DevicePointer;
  /** Elements along each axis, the innermost first. */
  readonly sizes: readonly number[];
  /** Bytes from one element to the next along each axis but the innermost, whose elements are dense; multiples of 16. */
  readonly strideBytes: readonly number[];
  /** Elements one copy moves along each axis; the innermost makes 128 bytes. */
  readonly box: readonly number[];
}

const mapBytes = 128;
const mapAlignment = 64;
const dataType = { f16: 6, bf16: 9 } as const;
const noInterleave = 0;
const swizzle128Bytes = 3;
const promoteTo128Bytes = 2;
const zerosOutside = 0;

/** For a kernel's parameter of 128 bytes. Rows in shared memory are swizzled by 128 bytes; what lies outside the tensor is zero. */
export function tensorMap(driver: Driver, { dtype, address, sizes, strideBytes, box }: TensorMapOptions): Uint8Array<ArrayBuffer> {
  using memory = new NativeMemory(mapBytes + mapAlignment);
  const offset = (mapAlignment - Number(memory.address % BigInt(mapAlignment))) % mapAlignment;
  driver.call.cuTensorMapEncodeTiled(
    memory.address + BigInt(offset),
    dataType[dtype],
    sizes.length,
    address,
    BigUint64Array.from(sizes, BigInt),
    BigUint64Array.from(strideBytes, BigInt),
    Uint32Array.from(box),
    new Uint32Array(sizes.length).fill(1),
    noInterleave,
    swizzle128Bytes,
    promoteTo128Bytes,
    zerosOutside,
  );
  return memory.bytes.slice(offset, offset + mapBytes);
}
