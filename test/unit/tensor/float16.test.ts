import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bfloat16ToFloat32, float16ToFloat32, float16ToNumber, float32ToFloat16, numberToFloat16 } from '../../../runtime/tensor/index.js';

test('every binary16 value survives a round trip through float32', () => {
  const halves = Uint16Array.from({ length: 0x1_0000 }, (_, index) => index);
  const back = float32ToFloat16(float16ToFloat32(halves));
  for (let half = 0; half < 0x1_0000; half++) {
    const isNaN = (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0;
    if (isNaN) assert.ok(((back[half] ?? 0) & 0x7c00) === 0x7c00 && ((back[half] ?? 0) & 0x3ff) !== 0, half.toString(16));
    else assert.equal(back[half], half, half.toString(16));
  }
});

test('decoding gives the values of IEEE 754', () => {
  const rows: [number, number][] = [
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x83ff, -1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3c00, 1],
    [0x3c01, 1 + 2 ** -10],
    [0xc500, -5],
    [0x7bff, 65504],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
    [0x7e00, NaN],
  ];
  for (const [half, value] of rows) assert.ok(Object.is(float16ToNumber(half), value), half.toString(16));
});

test('encoding rounds to nearest, ties to even', () => {
  const ulp = 2 ** -10;
  const rows: [number, number][] = [
    [1 + ulp / 2, 0x3c00], // tie, even below
    [1 + ulp / 2 + 2 ** -23, 0x3c01],
    [1 + ulp * 1.5, 0x3c02], // tie, even above
    [1 + ulp * 1.5 - 2 ** -23, 0x3c01],
    [2 - ulp / 2, 0x4000], // the carry reaches the exponent
    [65519.996, 0x7bff],
    [65520, 0x7c00], // tie between the largest finite value and 2^16
    [-65520, 0xfc00],
    [1e30, 0x7c00],
    [2 ** -25, 0x0000], // tie between 0 and the smallest
    [2 ** -25 * 1.0001, 0x0001],
    [-(2 ** -25), 0x8000],
    [2 ** -24 * 1.5, 0x0002], // tie among subnormal values
    [2 ** -24 * 2.5, 0x0002],
    [2 ** -14 - 2 ** -25, 0x0400], // the largest subnormal rounds up to the smallest normal
    [1e-30, 0x0000],
    [0, 0x0000],
    [-0, 0x8000],
    [Infinity, 0x7c00],
    [-Infinity, 0xfc00],
  ];
  for (const [value, half] of rows) assert.equal(numberToFloat16(value).toString(16), half.toString(16), String(value));
});

test('encoding picks the nearest of all values, for floats spread over the range', () => {
  // Every 4,093rd float32 between the smallest half and the largest: compared with a search among the neighbours.
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  for (let pattern = 0x3300_0001; pattern < 0x477f_f000; pattern += 4093 * 13) {
    bits[0] = pattern;
    const value = float[0] ?? 0;
    const half = numberToFloat16(value);
    const distance = Math.abs(float16ToNumber(half) - value);
    for (const neighbour of [half - 1, half + 1]) {
      const other = Math.abs(float16ToNumber(neighbour) - value);
      assert.ok(other > distance || (other === distance && (half & 1) === 0), `${String(value)} → ${half.toString(16)}`);
    }
  }
});

test('bfloat16 is the upper half of a float32', () => {
  assert.deepEqual([...bfloat16ToFloat32(Uint16Array.of(0x3f80, 0xc049, 0x7f80, 0x0001))], [1, -3.140625, Infinity, 2 ** -133]);
});

test('a target of another length is refused', () => {
  assert.throws(() => float16ToFloat32(new Uint16Array(2), new Float32Array(3)), RangeError);
  assert.throws(() => float32ToFloat16(new Float32Array(2), new Uint16Array(1)), RangeError);
  assert.throws(() => bfloat16ToFloat32(new Uint16Array(1), new Float32Array(2)), RangeError);
});
