/** Long and weighted prompts against diffusers' community pipeline for them (test/fixtures/make_weighted_goldens.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { psnr } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { contextLength, Model } from '../../runtime/pipeline/index.js';
import { fixture } from '../support/fixtures.js';
import { compareWithGoldens, generateOn, goldenRequests, thatSkip } from '../support/golden-images.js';

const model = packageFile('models/tiny-sdxl');
const file = 'weighted-prompts/images.json';
const requests = goldenRequests(file);
const records = JSON.parse(readFileSync(fixture(file), 'utf8')) as Readonly<Record<string, { readonly tokens: number }>>;

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

  for (const images of [thatSkip(requests, false), thatSkip(requests, true)]) {
    it(Object.keys(images).join(', '), async (t) => {
      await compareWithGoldens(t, images, model, 'weighted-prompts/images.safetensors');
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
