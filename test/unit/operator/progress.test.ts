import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onward } from '../../../operator/controller/progress.js';

test('progress that was told is never taken back, and the rest is that of the gang that runs', () => {
  const first = onward({}, { done: '9%', phase: 'denoise', imagesDone: 0, step: 3 });
  assert.deepEqual(first, { done: '9%', phase: 'denoise', imagesDone: 0, step: 3 });
  const later = onward(first, { done: '45%', phase: 'denoise', imagesDone: 4, step: 7, latencyP50: '1.000s' });
  assert.deepEqual([later.done, later.imagesDone], ['45%', 4]);
  // A new gang has looked at two of the images that are there.
  const again = onward(later, { done: '20%', phase: 'load', imagesDone: 2, step: 0 });
  assert.deepEqual(again, { done: '45%', phase: 'load', imagesDone: 4, step: 0 });
  assert.deepEqual(onward(again, { done: '100%', imagesDone: 10, step: 9 }), { done: '100%', imagesDone: 10, step: 9 });
});
