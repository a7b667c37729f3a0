/** Second prompts, prompts of no words, skipped layers and sizes the UNet is told, against diffusers (test/fixtures/make_conditioning_images.py). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { psnr } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { Model } from '../../runtime/pipeline/index.js';
import { checkRequest } from '../../runtime/pipeline/pipeline.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';
import { fixture } from '../support/fixtures.js';
import { compareWithGoldens, generateOn, goldenRequests, thatSkip } from '../support/golden-images.js';

const model = packageFile('models/tiny-sdxl');
const requests = goldenRequests('conditioning-images/images.json');

describe('what images are conditioned on, against diffusers, PSNR ≥ 50 dB', () => {
  for (const images of [thatSkip(requests, false), thatSkip(requests, true)]) {
    it(Object.keys(images).join(', '), async (t) => {
      await compareWithGoldens(t, images, model, 'conditioning-images/images.safetensors');
    });
  }

  it('no two of them agree, so that each argument counts', async () => {
    await using goldens = await SafetensorsFile.open(fixture('conditioning-images/images.safetensors'));
    const names = Object.keys(requests).filter((name) => name !== 'two');
    assert.equal(names.length, 13);
    for (const name of names) {
      for (const other of names.filter((each) => each > name)) {
        const decibels = psnr(await goldens.readFloat32(name), await goldens.readFloat32(other));
        assert.ok(decibels <= 45, `${name} and ${other} agree at ${String(decibels)} dB`);
      }
    }
  });

  it('guidance branches on ranks of their own, PSNR ≥ 60 dB to one rank', async (t) => {
    const { 'negative-sizes': sizes = assert.fail(), 'negative-prompts': prompts = assert.fail() } = requests;
    const guided = { sizes, prompts };
    const alone = await generateOn({ cfg: 1, patch: 1 }, model, guided);
    const together = await generateOn({ cfg: 2, patch: 1 }, model, guided);
    for (const name of Object.keys(guided)) {
      const decibels = psnr(together[name]?.image ?? assert.fail(), alone[name]?.image ?? assert.fail());
      t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
      assert.ok(decibels >= 60, `${name}: ${String(decibels)} dB`);
    }
  });

  it('more layers skipped than the encoders have is refused with both numbers', async () => {
    await using opened = await Model.open(model);
    const { plain = assert.fail() } = requests;
    assert.throws(() => {
      checkRequest(opened, { ...plain, clipSkip: 2 }, { cfg: 1, patch: 1 });
    }, /spec\.clipSkip is 2, and the model's text encoders have 2 and 3 layers: at most 1 can be skipped/u);
  });
});
