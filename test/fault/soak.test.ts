/** Two hundred images of one job: memory and handles of every process stay what they were. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixture } from '../support/fixtures.js';
import { medians, soak } from '../support/soak.js';
import { Workspace } from '../support/sdxl.js';

const images = 200;
/** Of one process, from the second quarter to the last: a little more than ranks let garbage grow (runtime/launch/heap-growth.ts). */
const growthMiB = 20;

test('a job of 200 images on two ranks', { skip: process.platform === 'linux' ? false : 'reads /proc' }, async (t) => {
  await using workspace = await Workspace.open();
  const samples = await soak({ workspace, model: fixture('random-sdxl'), images, env: {}, patienceMs: 240_000 });
  for (const [name, taken] of samples) {
    const [before, after] = [medians(taken, 0.25 * images, 0.5 * images), medians(taken, 0.75 * images, images)];
    t.diagnostic(`${name}: ${before.rssMiB.toFixed(0)} → ${after.rssMiB.toFixed(0)} MiB, ${before.handles} → ${after.handles} handles`);
    assert.ok(after.rssMiB - before.rssMiB < growthMiB, `${name}: ${before.rssMiB} → ${after.rssMiB} MiB`);
    assert.equal(after.handles, before.handles, name);
  }
});
