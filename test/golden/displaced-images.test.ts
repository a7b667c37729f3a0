/** Whole images in displaced modes and at several sizes with one engine, on every kind of mesh. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { psnr } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { patchModes, type Mesh } from '../../runtime/parallel/index.js';
import type { ImageRequest, Pipeline } from '../../runtime/pipeline/index.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { fixture } from '../support/fixtures.js';
import { onMesh, type Rank } from '../support/rank.js';

const request: ImageRequest = {
  prompt: 'flowers, rabbit',
  negativePrompt: undefined,
  height: 128,
  width: 128,
  numInferenceSteps: 6,
  guidanceScale: 5,
  seed: 233n,
};

async function image(pipeline: Pipeline, changes: Partial<ImageRequest> = {}): Promise<Tensor<'f32'>> {
  return (await pipeline.generate({ ...request, ...changes }, { image: 0 })).image;
}

/** What rank 0 makes of it. */
async function onFirst<T>(directory: string, mesh: Mesh, body: (rank: Rank) => Promise<T>): Promise<T> {
  const results = await onMesh(directory, mesh, body);
  return results[0] as T;
}

const random = fixture('random-sdxl');
const sizes = [
  { height: 128, width: 128 },
  { height: 128, width: 192 },
  { height: 256, width: 128 },
];

describe('displaced modes on meshes', () => {
  for (const mesh of [
    { cfg: 1, patch: 2 },
    { cfg: 1, patch: 4 },
    { cfg: 2, patch: 2 },
  ] as const) {
    it(`cfg ${String(mesh.cfg)} × patch ${String(mesh.patch)}: near the synchronous image, and not it`, async (t) => {
      const found = await onFirst(packageFile('models/tiny-sdxl'), mesh, async (rank) => {
        const pipeline = await rank.pipeline();
        const synchronous = await image(pipeline);
        const decibels: Record<string, number> = {};
        for (const mode of patchModes) {
          decibels[mode] = psnr(await image(pipeline, { patches: { mode, warmupSteps: 2 } }), synchronous);
        }
        return decibels;
      });
      t.diagnostic(
        Object.entries(found)
          .map(([mode, decibels]) => `${mode} ${decibels.toFixed(1)} dB`)
          .join(', '),
      );
      for (const [mode, decibels] of Object.entries(found)) {
        if (mode === 'Synchronous') assert.equal(decibels, Number.POSITIVE_INFINITY);
        // In so few steps much moves from one to the next.
        else assert.ok(decibels > 10 && decibels < 80, `${mode}: ${String(decibels)} dB`);
      }
    });
  }

  it('are synchronous as long as the warm-up lasts: 4 means five steps', async () => {
    await onFirst(random, { cfg: 1, patch: 2 }, async (rank) => {
      const pipeline = await rank.pipeline();
      const displaced = { patches: { mode: 'CorrectedAsyncGn', warmupSteps: 4 } } as const;
      const five = { numInferenceSteps: 5 };
      assert.deepEqual(await image(pipeline, { ...five, ...displaced }), await image(pipeline, five));
      assert.notDeepEqual(await image(pipeline, displaced), await image(pipeline));
    });
  });

  it('an image is the same whatever was made before it, at whatever size', async () => {
    await onFirst(random, { cfg: 1, patch: 2 }, async (rank) => {
      const pipeline = await rank.pipeline();
      const displaced = { patches: { mode: 'CorrectedAsyncGn', warmupSteps: 1 } } as const;
      const first = await image(pipeline, displaced);
      await image(pipeline, { ...displaced, seed: 7n });
      await image(pipeline, { ...displaced, height: 192 });
      await image(pipeline);
      assert.deepEqual(await image(pipeline, displaced), first);
    });
  });

  it('change nothing where no band has a neighbour', async () => {
    await onFirst(random, { cfg: 2, patch: 1 }, async (rank) => {
      const pipeline = await rank.pipeline();
      assert.deepEqual(await image(pipeline, { patches: { mode: 'NoSync', warmupSteps: 0 } }), await image(pipeline));
    });
  });
});

describe('synchronous meshes at three sizes, one engine each: PSNR ≥ 60 dB', () => {
  it('cfg × patch 1×2, 1×4, 2×1, 2×2', async (t) => {
    const alone = await onFirst(random, { cfg: 1, patch: 1 }, async (rank) => {
      const pipeline = await rank.pipeline();
      const images: Tensor<'f32'>[] = [];
      for (const size of sizes) images.push(await image(pipeline, size));
      return images;
    });
    for (const mesh of [
      { cfg: 1, patch: 2 },
      { cfg: 1, patch: 4 },
      { cfg: 2, patch: 1 },
      { cfg: 2, patch: 2 },
    ]) {
      const decibels = await onFirst(random, mesh, async (rank) => {
        const pipeline = await rank.pipeline();
        const found: number[] = [];
        for (const [index, size] of sizes.entries()) found.push(psnr(await image(pipeline, size), alone[index] ?? assert.fail()));
        return found;
      });
      t.diagnostic(`${String(mesh.cfg)}×${String(mesh.patch)}: ${decibels.map((value) => `${value.toFixed(1)} dB`).join(', ')}`);
      assert.ok(decibels.every((value) => value >= 60));
    }
  });
});
