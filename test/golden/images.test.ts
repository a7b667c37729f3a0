/** Whole images against diffusers' pipeline, on one rank and on meshes: float PSNR before quantisation. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { psnr, standardDeviation } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { generateOn, goldenRequests } from '../support/golden-images.js';

const models = [
  { name: 'random model', directory: fixture('random-sdxl'), goldens: 'goldens', prefix: 'image-', hasLatents: true },
  { name: 'models/tiny-sdxl', directory: packageFile('models/tiny-sdxl'), goldens: 'tiny-goldens', prefix: '', hasLatents: false },
] as const;

for (const { name, directory, goldens, prefix, hasLatents } of models) {
  const requests = goldenRequests(`${goldens}/images.json`);

  describe(`${name}: one rank against diffusers, PSNR ≥ 50 dB`, () => {
    it(Object.keys(requests).join(', '), async (t) => {
      const made = await generateOn({ cfg: 1, patch: 1 }, directory, requests);
      for (const [image, { image: found, latents }] of Object.entries(made)) {
        const golden = await readGolden(`${goldens}/${prefix}${image}`);
        const reference = golden['image'] ?? assert.fail(image);
        const decibels = psnr(found, reference);
        t.diagnostic(`${image}: ${decibels.toFixed(1)} dB`);
        assert.ok(decibels >= 50, `${image}: ${String(decibels)} dB`);
        assert.ok(standardDeviation(reference.data) >= 0.1, `${image} could agree by being flat`);
        if (hasLatents) assert.ok(relativeError(latents, golden['latents'] ?? assert.fail(image)) <= 1e-4);
      }
    });
  });

  describe(`${name}: meshes against one rank, PSNR ≥ 60 dB`, () => {
    const meshes: readonly Mesh[] = [
      { cfg: 1, patch: 2 },
      { cfg: 1, patch: 4 },
      { cfg: 2, patch: 1 },
      { cfg: 2, patch: 2 },
    ];
    // Guided ones, so that every mesh can make them; one square, one wide.
    const guided = Object.fromEntries(
      Object.entries(requests)
        .filter(([, request]) => request.guidanceScale > 1 && (!hasLatents || request.negativePrompt !== undefined))
        .map(([image, request]) => [image, { ...request, numInferenceSteps: Math.min(request.numInferenceSteps, 8) }]),
    );
    for (const mesh of meshes) {
      it(`cfg ${String(mesh.cfg)} × patch ${String(mesh.patch)}`, async (t) => {
        const alone = await generateOn({ cfg: 1, patch: 1 }, directory, guided);
        const together = await generateOn(mesh, directory, guided);
        for (const image of Object.keys(guided)) {
          const decibels = psnr(together[image]?.image ?? assert.fail(), alone[image]?.image ?? assert.fail());
          t.diagnostic(`${image}: ${decibels.toFixed(1)} dB`);
          assert.ok(decibels >= 60, `${image}: ${String(decibels)} dB`);
        }
      });
    }
  });
}
