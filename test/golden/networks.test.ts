/** Each network against diffusers (CPU, fp32; test/fixtures/make_goldens.py), whole and sharded. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Executor } from '../../runtime/engine/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import { bandInputs, joinBands } from '../../runtime/pipeline/bands.js';
import { encodePrompt } from '../../runtime/pipeline/conditioning.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');
// fp32 sums in another order than torch's: about 1e-6 is seen; a dropped term moves the output by 2e-3 or more.
const tolerance = 1e-4;

async function runUnet(
  executor: Executor,
  golden: Record<string, Tensor<'f32'>>,
  name: string,
  mesh: Mesh,
  rank: number,
): Promise<Tensor<'f32'>> {
  const at = (input: string): Tensor<'f32'> => golden[`${name}.${input}`] ?? assert.fail(`no golden ${name}.${input}`);
  const { outputs } = await executor.run({
    ...bandInputs('sample', at('sample'), mesh, rank),
    timestep: at('timestep'),
    encoder_hidden_states: at('encoder_hidden_states'),
    text_embeds: at('text_embeds'),
    time_ids: at('time_ids'),
  });
  return joinBands(outputs['out_sample'] as Tensor<'f32'>, mesh);
}

describe('UNet against diffusers', () => {
  for (const patch of [1, 2, 4]) {
    it(`square, tall and wide on ${String(patch)} patch ranks, one engine for all sizes`, async () => {
      const golden = await readGolden('goldens/unet');
      const mesh = { cfg: 1, patch };
      const errors = await onMesh(model, mesh, async ({ components, load, rank }) => {
        const executor = await load(components.unet);
        const found: number[] = [];
        for (const name of ['square', 'tall', 'wide', 'square']) {
          const reference = golden[`${name}.output`] ?? assert.fail(name);
          found.push(relativeError(await runUnet(executor, golden, name, mesh, rank), reference));
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
      const output = await runUnet(await load(components.unet), own, 'square', mesh, rank);
      return relativeError(output, golden['square.output'] ?? assert.fail());
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
          const latents = golden[`${name}.latents`] ?? assert.fail(name);
          // The golden decodes unscaled latents; the graph divides by the scaling factor.
          const scaled = { ...latents, data: latents.data.map((value) => value * opened.parts.vae.config.scalingFactor) };
          const { outputs } = await executor.run(bandInputs('latents', scaled, mesh, rank));
          found.push(relativeError(joinBands(outputs['image'] as Tensor<'f32'>, mesh), golden[`${name}.image`] ?? assert.fail()));
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
        const { promptEmbeds, pooledPromptEmbeds } = await encodePrompt(opened, encoders, prompt, () => undefined, undefined);
        assert.ok(relativeError(promptEmbeds, golden[`${name}.prompt_embeds`] ?? assert.fail()) <= tolerance);
        assert.ok(relativeError(pooledPromptEmbeds, golden[`${name}.2.pooled`] ?? assert.fail()) <= tolerance);
      }
    });
  });
});
