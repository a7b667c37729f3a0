/**
 * One pipeline, so one engine of each network, makes images of several sizes in turn on every mesh, PSNR ≥ 60 dB to one rank; and sizes that
 * leave odd levels against diffusers (test/fixtures/make_size_images.py).
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { psnr, standardDeviation } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import type { GeneratedImage, ImageRequest } from '../../runtime/pipeline/index.js';
import { compareWithGoldens, generateOn, goldenRequests } from '../support/golden-images.js';

const model = packageFile('models/tiny-sdxl');
const sizes = [
  [128, 128],
  [128, 192],
  [256, 64],
  // Levels of 25, 13 and 7 columns.
  [128, 200],
  // The first again: nothing of the others may be left.
  [128, 128],
] as const;
const requests = Object.fromEntries(
  sizes.map(([height, width], index): [string, ImageRequest] => [
    `${String(index)}: ${String(height)} × ${String(width)}`,
    { prompt: 'flowers, rabbit', negativePrompt: 'boat', height, width, numInferenceSteps: 4, guidanceScale: 5, seed: 7n },
  ]),
);

describe('several sizes in turn', () => {
  let alone: Promise<Record<string, GeneratedImage>> | undefined;
  const onOneRank = (): Promise<Record<string, GeneratedImage>> => (alone ??= generateOn({ cfg: 1, patch: 1 }, model, requests));

  it('on one rank, the first size again gives the first image again', async () => {
    const images = Object.values(await onOneRank()).map(({ image }) => image);
    assert.deepEqual(images.at(-1), images[0]);
    for (const { data } of images) assert.ok(standardDeviation(data) >= 0.1);
  });

  for (const [cfg, patch] of [
    [1, 2],
    [1, 4],
    [2, 1],
    [2, 2],
  ] as const) {
    it(`cfg ${String(cfg)} × patch ${String(patch)}`, async (t) => {
      const expected = await onOneRank();
      const made = await generateOn({ cfg, patch }, model, requests);
      for (const name of Object.keys(requests)) {
        const decibels = psnr(made[name]?.image ?? assert.fail(name), expected[name]?.image ?? assert.fail(name));
        t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
        assert.ok(decibels >= 60, `${name}: ${String(decibels)} dB`);
      }
    });
  }
});

it('sizes that leave levels of odd rows and columns, against diffusers, PSNR ≥ 50 dB', async (t) => {
  await compareWithGoldens(t, goldenRequests('size-images/images.json'), model, 'size-images/images.safetensors');
});
