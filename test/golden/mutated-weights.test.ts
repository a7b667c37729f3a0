/** The gates fail where a single bias or norm's affine is dropped. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fixture, readGolden } from '../support/fixtures.js';
import { tolerance, unetError, vaeError } from '../support/networks.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');

describe('dropping one bias or affine fails the gate', () => {
  const networks = [
    { name: 'unet', folder: 'unet', golden: 'unet' },
    { name: 'vaeDecoder', folder: 'vae', golden: 'vae' },
  ] as const;
  for (const { name, folder, golden: goldenName } of networks) {
    it(`${name}: every vector of its weights, on one rank`, async (t) => {
      const golden = await readGolden(`goldens/${goldenName}`);
      const directory = await mkdtemp(join(tmpdir(), 'sdxl-mutation-'));
      try {
        await cp(model, directory, { recursive: true });
        const [survived = ['no rank']] = await onMesh(
          directory,
          { cfg: 1, patch: 1 },
          async ({ components, load, model: opened, mesh }) => {
            const component = components[name];
            const vectors = component.graph.weights.filter(({ key, shape }) => shape.length === 1 && !isInvariant(key));
            t.diagnostic(`${String(vectors.length)} vectors`);
            const kept: string[] = [];
            for (const { key, shape } of vectors) {
              const { offset } = component.weights.require(key, shape);
              await withDropped(join(directory, folder, weightsFile), key, shape, offset, async () => {
                const executor = await load(component);
                const scale = opened.parts.vae.config.scalingFactor;
                const error = await (name === 'unet' ? unetError(executor, golden, mesh, 0) : vaeError(executor, golden, mesh, 0, scale));
                await executor.close();
                if (error <= tolerance) kept.push(key);
              });
            }
            return kept;
          },
        );
        assert.deepEqual(survived, []);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    });
  }
});

const weightsFile = 'diffusion_pytorch_model.safetensors';

/** The bias of keys adds the same number to all of a query's scores, and softmax takes no notice of that. */
function isInvariant(key: string): boolean {
  return key.endsWith('.to_k.bias');
}

/** While `body` runs, the vector has the value under which its term drops out: 1 for gammas, 0 for biases. */
async function withDropped(path: string, key: string, shape: readonly number[], offset: number, body: () => Promise<void>): Promise<void> {
  await using file = await open(path, 'r+');
  const original = new Float32Array(shape[0] ?? 0);
  await file.read(original, 0, original.byteLength, offset);
  await file.write(
    original.map(() => (key.endsWith('.bias') ? 0 : 1)),
    0,
    original.byteLength,
    offset,
  );
  try {
    await body();
  } finally {
    await file.write(original, 0, original.byteLength, offset);
  }
}
