/** Whole images against diffusers' pipeline, on one rank and on meshes: float PSNR before quantisation. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { psnr, standardDeviation } from '../../runtime/image/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import type { ImageRequest } from '../../runtime/pipeline/index.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { onMesh } from '../support/rank.js';

interface GoldenImage {
  readonly prompt: string;
  readonly negative_prompt?: string;
  readonly height: number;
  readonly width: number;
  readonly guidance_scale: number;
  readonly num_inference_steps: number;
  readonly seed: string;
}
const images = JSON.parse(readFileSync(fixture('goldens/images.json'), 'utf8')) as Record<string, GoldenImage>;

function requestOf(name: string): ImageRequest {
  const image = images[name] ?? assert.fail(name);
  return {
    prompt: image.prompt,
    negativePrompt: image.negative_prompt,
    height: image.height,
    width: image.width,
    guidanceScale: image.guidance_scale,
    numInferenceSteps: image.num_inference_steps,
    seed: BigInt(image.seed),
  };
}

async function generate(names: readonly string[], mesh: Mesh): Promise<Record<string, { image: Tensor<'f32'>; latents: Tensor<'f32'> }>> {
  const [first] = await onMesh(fixture('random-sdxl'), mesh, async (rank) => {
    const pipeline = await rank.pipeline();
    const made: Record<string, { image: Tensor<'f32'>; latents: Tensor<'f32'> }> = {};
    for (const name of names) made[name] = await pipeline.generate(requestOf(name), { image: 0 });
    return made;
  });
  return first ?? assert.fail('no rank');
}

describe('whole images against diffusers', () => {
  it('one rank: guided, without negative prompt, without guidance, not square: PSNR ≥ 50 dB', async (t) => {
    const made = await generate(Object.keys(images), { cfg: 1, patch: 1 });
    for (const [name, { image, latents }] of Object.entries(made)) {
      const golden = await readGolden(`image-${name}`);
      const reference = golden['image'] ?? assert.fail(name);
      const decibels = psnr(image, reference);
      t.diagnostic(
        `${name}: ${decibels.toFixed(1)} dB, latents ${relativeError(latents, golden['latents'] ?? assert.fail()).toExponential(1)}`,
      );
      assert.ok(decibels >= 50, `${name}: ${String(decibels)} dB`);
      assert.ok(standardDeviation(image.data) >= 0.1, `${name} is flat`);
    }
  });
});

describe('images on meshes against one rank: PSNR ≥ 60 dB', () => {
  const meshes: readonly Mesh[] = [
    { cfg: 1, patch: 2 },
    { cfg: 1, patch: 4 },
    { cfg: 2, patch: 1 },
    { cfg: 2, patch: 2 },
  ];
  for (const mesh of meshes) {
    it(`cfg ${String(mesh.cfg)} × patch ${String(mesh.patch)}, square and wide`, async (t) => {
      const names = ['guided', 'wide'];
      const alone = await generate(names, { cfg: 1, patch: 1 });
      const together = await generate(names, mesh);
      for (const name of names) {
        const decibels = psnr(together[name]?.image ?? assert.fail(), alone[name]?.image ?? assert.fail());
        t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
        assert.ok(decibels >= 60, `${name}: ${String(decibels)} dB`);
      }
    });
  }
});
