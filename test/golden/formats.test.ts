/** The random model in other formats against diffusers: a single file in the original layout, LoRA adapters merged at load. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { psnr } from '../../runtime/image/index.js';
import { fixture, readGolden } from '../support/fixtures.js';
import { generateOn, goldenRequests } from '../support/golden-images.js';
import { writeOriginal } from '../support/original-layout.js';
import { Workspace } from '../support/sdxl.js';

const alone = { cfg: 1, patch: 1 };

describe('a single file in the original layout against diffusers, PSNR ≥ 50 dB', () => {
  const { guided } = goldenRequests('goldens/images.json');
  for (const cfg of [1, 2]) {
    it(cfg === 1 ? 'one rank' : 'guidance on two ranks', async (t) => {
      await using workspace = await Workspace.open();
      const path = workspace.file('model.safetensors');
      await writeOriginal(path);
      const made = await generateOn({ cfg, patch: 1 }, { path, configFrom: fixture('random-sdxl') }, { guided: guided ?? assert.fail() });
      const { image: reference } = await readGolden('goldens/image-guided');
      const decibels = psnr(made['guided']?.image ?? assert.fail(), reference ?? assert.fail());
      t.diagnostic(`${decibels.toFixed(1)} dB`);
      assert.ok(decibels >= 50, `${decibels} dB`);
    });
  }
});

describe('LoRA adapters against diffusers, PSNR ≥ 50 dB', () => {
  const cases = JSON.parse(readFileSync(fixture('formats/lora-images.json'), 'utf8')) as Record<
    string,
    { readonly loras: readonly { readonly file: string; readonly weight: string }[] }
  >;
  const requests = goldenRequests('formats/lora-images.json');
  for (const [name, { loras }] of Object.entries(cases)) {
    const request = requests[name] ?? assert.fail(name);
    const adapters = loras.map(({ file, weight }) => ({ path: fixture(`formats/${file}`), weight: Number(weight) }));
    it(loras.map(({ file, weight }) => `${file} × ${weight}`).join(', '), async (t) => {
      const made = await generateOn(alone, { path: fixture('random-sdxl'), loras: adapters }, { [name]: request });
      const { image: reference } = await readGolden(`formats/image-${name}`);
      const decibels = psnr(made[name]?.image ?? assert.fail(), reference ?? assert.fail());
      t.diagnostic(`${decibels.toFixed(1)} dB`);
      assert.ok(decibels >= 50, `${decibels} dB`);
    });
  }

  it('three of them on a single file', async (t) => {
    await using workspace = await Workspace.open();
    const path = join(workspace.path, 'model.safetensors');
    await writeOriginal(path);
    const { 'lora-three': request } = requests;
    const loras = (cases['lora-three']?.loras ?? []).map(({ file, weight }) => ({
      path: fixture(`formats/${file}`),
      weight: Number(weight),
    }));
    const source = { path, configFrom: fixture('random-sdxl'), loras };
    const made = await generateOn(alone, source, { three: request ?? assert.fail() });
    const { image: reference } = await readGolden('formats/image-lora-three');
    const decibels = psnr(made['three']?.image ?? assert.fail(), reference ?? assert.fail());
    t.diagnostic(`${decibels.toFixed(1)} dB`);
    assert.ok(decibels >= 50, `${decibels} dB`);
  });
});
