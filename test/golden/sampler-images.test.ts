/** Whole images with every sampler, with guidance and without, in 2, 10 and 25 steps, against diffusers (test/fixtures/make_sampler_images.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { psnr, standardDeviation } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import type { ImageRequest } from '../../runtime/pipeline/index.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';
import { fixture } from '../support/fixtures.js';
import { generateOn, goldenRequests } from '../support/golden-images.js';

interface Sampled {
  readonly guidance_rescale: number;
  readonly scheduler: string;
  readonly options: Readonly<Record<string, string | boolean>>;
}

const records = JSON.parse(readFileSync(fixture('sampler-images/images.json'), 'utf8')) as Readonly<Record<string, Sampled>>;
const camelCase = (name: string): string => name.replaceAll(/_([a-z])/gu, (_, letter: string) => letter.toUpperCase());

const requests: Record<string, ImageRequest> = {};
for (const [name, request] of Object.entries(goldenRequests('sampler-images/images.json'))) {
  const { guidance_rescale: guidanceRescale, scheduler: className, options } = records[name] ?? assert.fail(name);
  const written = Object.fromEntries(Object.entries(options).map(([option, value]) => [camelCase(option), value]));
  requests[name] = { ...request, guidanceRescale, scheduler: { className, options: written } };
}
const groups = new Map<string, Record<string, ImageRequest>>();
for (const [name, request] of Object.entries(requests)) {
  const group = /-(?:(?:un)?guided|\d\.\d)-\d+$/u.test(name) ? (name.split('-', 1)[0] ?? name) : 'variants';
  groups.set(group, { ...groups.get(group), [name]: request });
}

describe('images of models/tiny-sdxl against diffusers, PSNR ≥ 50 dB', () => {
  for (const [group, images] of groups) {
    it(`${group}: ${Object.keys(images).join(', ')}`, async (t) => {
      await using goldens = await SafetensorsFile.open(fixture('sampler-images/images.safetensors'));
      const made = await generateOn({ cfg: 1, patch: 1 }, packageFile('models/tiny-sdxl'), images);
      for (const name of Object.keys(images)) {
        const reference = await goldens.readFloat32(name);
        const decibels = psnr(made[name]?.image ?? assert.fail(name), reference);
        const spread = standardDeviation(reference.data);
        t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
        assert.ok(decibels >= 50, `${name}: ${String(decibels)} dB`);
        // Few steps leave some pictures pale: the error must be far below what there is to see.
        assert.ok(spread >= 0.05 && decibels + 20 * Math.log10(spread) >= 40, `${name} could agree by being flat`);
      }
    });
  }

  it('every sampler is there, the first five six times, LCM eighteen times, and no two images are the same', async () => {
    assert.deepEqual(
      [...groups].map(([group, images]) => [group, Object.keys(images).length]),
      [
        ['EulerDiscrete', 6],
        ['EulerAncestralDiscrete', 6],
        ['DDIM', 6],
        ['DPMSolverMultistep', 6],
        ['UniPCMultistep', 6],
        ['LCM', 18],
        ['variants', 14],
      ],
    );
    await using goldens = await SafetensorsFile.open(fixture('sampler-images/images.safetensors'));
    const contents = await Promise.all(Object.keys(requests).map(async (name) => (await goldens.readFloat32(name)).data.join()));
    assert.equal(new Set(contents).size, 62);
  });
});
