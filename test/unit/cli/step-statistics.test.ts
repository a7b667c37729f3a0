import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StepStatistics } from '../../../runtime/cli/step-statistics.js';
import type { RankMessage } from '../../../runtime/launch/index.js';

function step(image: number, exchangeSeconds: number | undefined, sentBytes: number | undefined): RankMessage {
  return { type: 'event', event: { type: 'step', image, step: 1, steps: 1, seconds: 0.5, exchangeSeconds, exchanges: 3, sentBytes } };
}

test('steps after the warm-up are summed, of one rank', () => {
  const statistics = new StepStatistics(0, 1);
  for (const message of [step(0, 9, 9), step(1, 0.1, 100), step(2, 0.3, 300)]) statistics.message(0, message);
  statistics.message(1, step(1, 9, 9));
  assert.deepEqual(statistics.summary(), {
    steps: 2,
    medianSeconds: 0.5,
    exchangeShare: 0.4,
    exchangesPerStep: 3,
    sentBytesPerStep: 200,
  });
});

test('what a device’s graph hides is unknown, not nothing', () => {
  const statistics = new StepStatistics(0);
  statistics.message(0, step(0, undefined, undefined));
  statistics.message(0, step(1, 0.1, 100));
  const { exchangeShare, sentBytesPerStep, exchangesPerStep } = statistics.summary() ?? assert.fail();
  assert.deepEqual([exchangeShare, sentBytesPerStep, exchangesPerStep], [null, null, 3]);
});
