/** Each network against diffusers (CPU, fp32; test/fixtures/make_goldens.py), whole and sharded. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodePrompt } from '../../runtime/pipeline/conditioning.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { tolerance, unetError, vaeError } from '../support/networks.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');

describe('UNet against diffusers', () => {
  for (const patch of [1, 2, 4]) {
    it(`square, tall and wide on ${String(patch)} patch ranks, one engine for all sizes`, async () => {
      const golden = await readGolden('goldens/unet');
      const mesh = { cfg: 1, patch };
      const errors = await onMesh(model, mesh, async ({ components, load, rank }) => {
        const executor = await load(components.unet);
        const found: number[] = [];
        for (const name of ['square', 'tall', 'wide', 'square']) {
          found.push(await unetError(executor, golden, mesh, rank, name));
        }
        return found;
      });
      for (const error of errors.flat()) assert.ok(error <= tolerance, `relative error ${String(error)}`);
    });
  }

  it('guidance branches on ranks of their own', async () => {
    const golden = await readGolden('goldens/unet');
    const mesh = { cfg: 2, patch: 2 };
    const branch = (value: Tensor<'f32'>, index: number): Tensor<'f32'> => {
      const size = value.data.length / 2;
      return { ...value, shape: [1, ...value.shape.slice(1)], data: value.data.slice(index * size, (index + 1) * size) };
    };
    const errors = await onMesh(model, mesh, async ({ components, load, rank }) => {
      const index = rank < mesh.patch ? 0 : 1;
      const own = Object.fromEntries(
        Object.entries(golden).map(([name, value]) => [name, /^square\.(?!timestep|output)/.test(name) ? branch(value, index) : value]),
      );
      return unetError(await load(components.unet), own, mesh, rank);
    });
    for (const error of errors) assert.ok(error <= tolerance, `relative error ${String(error)}`);
  });
});

describe('VAE decoder against diffusers', () => {
  for (const patch of [1, 2, 4]) {
    it(`square and wide on ${String(patch)} ranks`, async () => {
      const golden = await readGolden('goldens/vae');
      const mesh = { cfg: 1, patch };
      const errors = await onMesh(model, mesh, async ({ components, load, rank, model: opened }) => {
        const executor = await load(components.vaeDecoder);
        const found: number[] = [];
        for (const name of ['square', 'wide']) {
          found.push(await vaeError(executor, golden, mesh, rank, opened.parts.vae.config.scalingFactor, name));
        }
        return found;
      });
      for (const error of errors.flat()) assert.ok(error <= tolerance, `relative error ${String(error)}`);
    });
  }
});

describe('text encoders against transformers', () => {
  const prompts: Readonly<Record<string, string>> = {
    empty: '',
    fox: 'a red fox sleeping under an oak tree, autumn leaves',
    long: 'highly detailed photograph, '.repeat(20),
  };
  it('penultimate states of both, concatenated, and the pooled projection', async () => {
    const golden = await readGolden('goldens/encoders');
    await onMesh(model, { cfg: 1, patch: 1 }, async ({ components, load, model: opened }) => {
      const encoders = { textEncoder: await load(components.textEncoder), textEncoder2: await load(components.textEncoder2) };
      for (const [name, prompt] of Object.entries(prompts)) {
        const { promptEmbeds, pooledPromptEmbeds } = await encodePrompt(opened, encoders, { prompt }, () => undefined, undefined);
        assert.ok(relativeError(promptEmbeds, golden[`${name}.prompt_embeds`] ?? assert.fail()) <= tolerance);
        assert.ok(relativeError(pooledPromptEmbeds, golden[`${name}.2.pooled`] ?? assert.fail()) <= tolerance);
      }
    });
  });
});
