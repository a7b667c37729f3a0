import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guide } from '../../../runtime/pipeline/guidance.js';
import { float32 } from '../../../runtime/tensor/index.js';

const branches = float32([2, 4], Float32Array.of(0, 1, 2, 3, 1, 0, 4, 2));

test('a scale of 1 is the conditional branch, more goes beyond it', () => {
  assert.deepEqual(guide(branches, { scale: 1, rescale: 0 }), Float32Array.of(1, 0, 4, 2));
  assert.deepEqual(guide(branches, { scale: 3, rescale: 0 }), Float32Array.of(3, -2, 8, 0));
});

test('rescaling takes the spread of the conditional branch, wholly or in part', () => {
  const spread = (values: Float32Array): number => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
  };
  const [conditional, guided] = [Float32Array.of(1, 0, 4, 2), Float32Array.of(3, -2, 8, 0)];
  const whole = guide(branches, { scale: 3, rescale: 1 });
  assert.ok(Math.abs(spread(whole) - spread(conditional)) < 1e-6);
  const half = guide(branches, { scale: 3, rescale: 0.5 });
  half.forEach((value, at) => {
    assert.ok(Math.abs(value - ((whole[at] ?? 0) + (guided[at] ?? 0)) / 2) < 1e-6);
  });
});
