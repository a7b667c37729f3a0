import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../runtime/tensor/index.js';

const draw = (seed: number | bigint): number[] => [...new Generator(seed).randn([20]).data];

test('numbers and bigints are one seed; only the lower 32 bits count; negative ones wrap', () => {
  assert.deepEqual(draw(5), draw(5n));
  assert.deepEqual(draw(5), draw(2n ** 32n + 5n));
  assert.deepEqual(draw(-1), draw(2n ** 64n - 1n));
  assert.deepEqual(draw(-(2n ** 63n)), draw(2n ** 63n));
  assert.notDeepEqual(draw(5), draw(6));
});

test('what is no seed is refused', () => {
  for (const seed of [0.5, NaN, 2 ** 53, 2n ** 64n, -(2n ** 63n) - 1n]) assert.throws(() => new Generator(seed), RangeError, String(seed));
});

test('an empty shape draws one number, an empty axis none', () => {
  const generator = new Generator(1);
  assert.equal(generator.randn([]).data.length, 1);
  assert.equal(generator.randn([3, 0]).data.length, 0);
});

test('a large draw has the moments of a standard normal', () => {
  const { data } = new Generator(42).randn([100_000]);
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
  const variance = data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length;
  assert.ok(Math.abs(mean) < 0.02 && Math.abs(variance - 1) < 0.02);
});
