/** How a group norm in one pass is cut. What its kernel computes is compared on a device (test/gpu/operators.test.ts). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planCluster, type NormSize } from '../../../../runtime/backends/cuda/execution/cluster-norm.js';

const hopper = { multiprocessors: 132, maxSharedMemoryPerBlockBytes: 227 << 10 };
/** Channels and side of every group norm in SDXL's UNet at 1024². */
const sdxl = [
  ...[320, 640].map((channels) => [channels, 128] as const),
  ...[320, 640, 960, 1280, 1920].map((channels) => [channels, 64] as const),
  ...[640, 1280, 1920, 2560].map((channels) => [channels, 32] as const),
];

function check(size: NormSize, limits = hopper): boolean {
  const plan = planCluster(size, limits);
  if (plan === undefined) return false;
  const { cluster, sliceOctets, blockPixels, lanes, sharedBytes } = plan;
  const what = JSON.stringify({ ...size, ...plan });
  assert.equal(size.channels % (sliceOctets * 8), 0, what);
  assert.equal((sliceOctets * 8) % (size.channels / size.groups), 0, what);
  const threads = lanes * sliceOctets;
  assert.ok(threads % 32 === 0 && threads <= 512, what);
  assert.ok(cluster * blockPixels >= size.pixels && (cluster - 1) * blockPixels < size.pixels, what);
  // As the kernel lays it out: pixels, sums and squares of every lane, two pairs for each group.
  const slice = sliceOctets * 8;
  assert.equal(sharedBytes, blockPixels * slice * 2 + 2 * lanes * slice * 4 + (slice / (size.channels / size.groups)) * 16, what);
  assert.ok(sharedBytes <= limits.maxSharedMemoryPerBlockBytes, what);
  return true;
}

test('every norm of SDXL at 1024² that fits is cut into whole groups, octets and warps that cover the image', () => {
  for (const batch of [1, 2])
    for (const [channels, side] of sdxl) assert.ok(check({ channels, groups: 32, batch, pixels: side ** 2 }), String(channels));
});

test('what does not fit is left to two passes', () => {
  assert.equal(check({ channels: 960, groups: 32, batch: 2, pixels: 128 ** 2 }), false);
  assert.equal(check({ channels: 512, groups: 32, batch: 1, pixels: 1024 ** 2 }), false);
});

test('any size, also one of few pixels and of channels that make odd groups, and devices with less shared memory', () => {
  let planned = 0;
  for (const channels of [32, 64, 96, 128, 320, 416, 960, 2560])
    for (const pixels of [1, 7, 36, 1025, 37 * 64, 128 ** 2])
      for (const maxSharedMemoryPerBlockBytes of [227 << 10, 99 << 10])
        if (check({ channels, groups: 32, batch: 2, pixels }, { multiprocessors: 84, maxSharedMemoryPerBlockBytes })) planned++;
  assert.ok(planned > 60, String(planned));
});
