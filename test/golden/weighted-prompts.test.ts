/** Long and weighted prompts against diffusers' community pipeline for them (test/fixtures/make_weighted_goldens.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { psnr, standardDeviation } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { contextLength, Model, type ImageRequest } from '../../runtime/pipeline/index.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';
import { fixture } from '../support/fixtures.js';
import { generateOn, goldenRequests } from '../support/golden-images.js';

const model = packageFile('models/tiny-sdxl');
const file = 'weighted-prompts/images.json';
const requests = goldenRequests(file);
const records = JSON.parse(readFileSync(fixture(file), 'utf8')) as Readonly<Record<string, { readonly tokens: number }>>;
const withSkip = (skips: boolean): Record<string, ImageRequest> =>
  Object.fromEntries(Object.entries(requests).filter(([, { clipSkip = 0 }]) => clipSkip > 0 === skips));

describe('long and weighted prompts against the reference, PSNR ≥ 50 dB', () => {
  it('contexts are as long', async () => {
    await using opened = await Model.open(model);
    const lengths = Object.entries(requests).map(([name, request]) => [name, contextLength(opened, request)]);
    assert.deepEqual(
      lengths,
      Object.entries(records).map(([name, { tokens }]) => [name, tokens]),
    );
    assert.ok(lengths.some(([, tokens]) => Number(tokens) >= 3 * 77));
  });

  for (const images of [withSkip(false), withSkip(true)]) {
    it(Object.keys(images).join(', '), async (t) => {
      await using goldens = await SafetensorsFile.open(fixture('weighted-prompts/images.safetensors'));
      const made = await generateOn({ cfg: 1, patch: 1 }, model, images);
      for (const name of Object.keys(images)) {
        const reference = await goldens.readFloat32(name);
        const decibels = psnr(made[name]?.image ?? assert.fail(name), reference);
        t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
        assert.ok(decibels >= 50, `${name}: ${String(decibels)} dB`);
        assert.ok(standardDeviation(reference.data) >= 0.1, `${name} could agree by being flat`);
      }
    });
  }

  for (const mesh of [
    { cfg: 1, patch: 3 },
    { cfg: 2, patch: 1 },
  ] as const) {
    it(`cfg ${String(mesh.cfg)} × patch ${String(mesh.patch)} against one rank, PSNR ≥ 60 dB`, async (t) => {
      const { 'long-weights': long = assert.fail(), break: broken = assert.fail() } = requests;
      const images = { long, broken };
      const alone = await generateOn({ cfg: 1, patch: 1 }, model, images);
      const together = await generateOn(mesh, model, images);
      for (const name of Object.keys(images)) {
        const decibels = psnr(together[name]?.image ?? assert.fail(), alone[name]?.image ?? assert.fail());
        t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
        assert.ok(decibels >= 60, `${name}: ${String(decibels)} dB`);
      }
    });
  }
});
