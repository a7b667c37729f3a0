/** Reference images small enough to carry along: 11 bits a value (a floor of 77 dB), predicted from their neighbours, compressed. */
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { float32, type Tensor } from '../../runtime/tensor/index.js';

const most = 2 ** 11 - 1;

/** `[3, height, width]` in [0, 1]. */
export function packImage({ shape, data }: Tensor<'f32'>): Buffer {
  const [, height = 0, width = 0] = shape;
  const levels = Int32Array.from(data, (value) => Math.round(Math.min(1, Math.max(0, value)) * most));
  // Low and high bytes apart: the high ones are nearly all zero.
  const bytes = Buffer.alloc(2 * levels.length);
  levels.forEach((level, index) => {
    const difference = level - predicted(levels, index, height, width);
    const unsigned = difference < 0 ? -2 * difference - 1 : 2 * difference;
    bytes[index] = unsigned & 0xff;
    bytes[levels.length + index] = unsigned >> 8;
  });
  return brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 } });
}

export function unpackImage(packed: Uint8Array, height: number, width: number): Tensor<'f32'> {
  const bytes = brotliDecompressSync(packed);
  const count = 3 * height * width;
  if (bytes.length !== 2 * count) throw new Error(`an image of ${String(bytes.length)} bytes, expected ${String(2 * count)}`);
  const levels = new Int32Array(count);
  for (let index = 0; index < count; index++) {
    const unsigned = (bytes[index] ?? 0) | ((bytes[count + index] ?? 0) << 8);
    const difference = unsigned % 2 === 1 ? -(unsigned + 1) / 2 : unsigned / 2;
    levels[index] = predicted(levels, index, height, width) + difference;
  }
  return float32(
    [3, height, width],
    Float32Array.from(levels, (level) => level / most),
  );
}

/** From the left, the upper and the upper left neighbour: the median predictor of JPEG-LS (ITU-T T.87, A.4.1). */
function predicted(levels: Int32Array, index: number, height: number, width: number): number {
  const column = index % width;
  const row = Math.floor(index / width) % height;
  const [left, above] = [column > 0 ? levels[index - 1] : undefined, row > 0 ? levels[index - width] : undefined];
  if (left === undefined || above === undefined) return left ?? above ?? most >> 1;
  const corner = levels[index - width - 1] ?? 0;
  if (corner >= Math.max(left, above)) return Math.min(left, above);
  if (corner <= Math.min(left, above)) return Math.max(left, above);
  return left + above - corner;
}
