import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countingSteps, type PipelineEvent } from '../../../runtime/pipeline/events.js';

test('calls of the UNet are told as the steps that were asked for, and the last call is the last step', () => {
  const told = (calls: number, asked: number): number[] => {
    const steps: number[] = [];
    const observer = countingSteps((event: PipelineEvent) => {
      assert.ok(event.type === 'step' && event.steps === asked);
      steps.push(event.step);
    }, asked);
    for (let step = 1; step <= calls; step++)
      observer({ type: 'step', image: 0, step, steps: calls, seconds: 1, exchangeSeconds: 0, exchanges: 0, sentBytes: 0 });
    return steps;
  };
  assert.deepEqual(told(4, 4), [1, 2, 3, 4]);
  assert.deepEqual(told(7, 4), [1, 2, 2, 3, 3, 4, 4]);
  assert.deepEqual(told(5, 4), [1, 2, 3, 4, 4]);
  assert.deepEqual(told(1, 1), [1]);
});

test('other events go through as they are', () => {
  const event: PipelineEvent = { type: 'waiting' };
  countingSteps((told) => assert.equal(told, event), 3)(event);
});
