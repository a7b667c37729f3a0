/**
 * IEEE 754 binary16 and bfloat16 to and from float32. Half precision is held as raw bits in a Uint16Array everywhere, because
 * Node 20 and 22 have no Float16Array. Formats: IEEE 754-2008, section 3.6; rounding to nearest, ties to even: section 4.3.1.
 */

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

let decodeTable: Float32Array | undefined;

/** All 65,536 values, made on first use (256 KiB). */
function float16Values(): Float32Array {
  if (decodeTable !== undefined) return decodeTable;
  const table = new Float32Array(0x1_0000);
  const bits = new Uint32Array(table.buffer);
  for (let half = 0; half < 0x1_0000; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) bits[half] = sign | 0x7f80_0000 | (fraction << 13);
    else if (exponent !== 0) bits[half] = sign | ((exponent + 112) << 23) | (fraction << 13);
    else table[half] = (sign === 0 ? 1 : -1) * fraction * 2 ** -24;
  }
  decodeTable = table;
  return table;
}

/** Bits of the binary16 nearest to the float32 with these bits. Overflow gives infinity; a NaN stays a (quiet) NaN. */
function encode(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  // 65520 lies half way between the largest finite value, whose last bit is odd, and 2^16: the tie goes to infinity.
  if (magnitude >= 0x477f_f000) return sign | 0x7c00;
  if (magnitude >= 0x3880_0000) return sign | roundShift(magnitude - 0x3800_0000, 13);
  // Below 2^-14 the result counts units of 2^-24; at or below half a unit it is zero.
  if (magnitude <= 0x3300_0000) return sign;
  return sign | roundShift((magnitude & 0x7f_ffff) | 0x80_0000, 126 - (magnitude >>> 23));
}

/** `value >> shift`, rounded to nearest, ties to even. A carry out of the fraction raises the exponent, as it should. */
function roundShift(value: number, shift: number): number {
  const quotient = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (quotient & 1) === 1) ? quotient + 1 : quotient;
}

export function float16ToNumber(half: number): number {
  return float16Values()[half & 0xffff] ?? NaN;
}

/** Rounds to float32 first, then to binary16, as torch's `.to(torch.float32).to(torch.float16)` does. */
export function numberToFloat16(value: number): number {
  scratch[0] = value;
  return encode(scratchBits[0] ?? 0);
}

/** Decodes into `into` (same length), or into a new array. */
export function float16ToFloat32(halves: Uint16Array, into: Float32Array = new Float32Array(halves.length)): Float32Array {
  requireLength(halves.length, into.length);
  const table = float16Values();
  for (let index = 0; index < halves.length; index++) into[index] = table[halves[index] ?? 0] ?? 0;
  return into;
}

/** Encodes into `into` (same length), or into a new array. */
export function float32ToFloat16(values: Float32Array, into: Uint16Array = new Uint16Array(values.length)): Uint16Array {
  requireLength(values.length, into.length);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let index = 0; index < bits.length; index++) into[index] = encode(bits[index] ?? 0);
  return into;
}

/** bfloat16 is the upper half of a float32, so decoding is exact. */
export function bfloat16ToFloat32(values: Uint16Array, into: Float32Array = new Float32Array(values.length)): Float32Array {
  requireLength(values.length, into.length);
  const bits = new Uint32Array(into.buffer, into.byteOffset, into.length);
  for (let index = 0; index < values.length; index++) bits[index] = (values[index] ?? 0) << 16;
  return into;
}

function requireLength(source: number, target: number): void {
  if (source !== target) throw new RangeError(`conversion of ${String(source)} elements into an array of ${String(target)}`);
}
