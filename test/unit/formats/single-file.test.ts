import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Model } from '../../../runtime/pipeline/index.js';
import { WeightsDirectory, writeSafetensors, type TensorToWrite } from '../../../runtime/weights/index.js';
import { fixture } from '../../support/fixtures.js';
import { originalTensors } from '../../support/original-layout.js';
import { Workspace } from '../../support/sdxl.js';

const configFrom = fixture('random-sdxl');
let workspace: Workspace;
let tensors: TensorToWrite[];
before(async () => {
  workspace = await Workspace.open();
  tensors = await originalTensors();
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

let files = 0;
async function written(content: readonly TensorToWrite[]): Promise<string> {
  const path = workspace.file(`${files++}.safetensors`);
  await writeSafetensors(path, content);
  return path;
}

function tensor(name: string, shape: readonly number[] = [1]): TensorToWrite {
  return { name, dtype: 'F32', shape, data: new Uint8Array(shape.reduce((a, b) => a * b, 4)) };
}

describe('a single file', () => {
  it('holds what the diffusers directory holds, under its names; only the text projection is made anew', async () => {
    await using model = await Model.open({ path: await written(tensors), configFrom });
    const projection = 'text_projection.weight';
    assert.equal(model.parts.textEncoder2.weights.has(projection), false);
    await model.materialize({ cacheDirectory: workspace.file('cache'), dtype: 'f32' });
    const components = {
      text_encoder: model.parts.textEncoder.weights,
      text_encoder_2: model.parts.textEncoder2.weights,
      unet: model.parts.unet.weights,
      vae: model.parts.vae.weights,
    };
    for (const [component, found] of Object.entries(components)) {
      const stem = component.startsWith('text') ? 'model' : 'diffusion_pytorch_model';
      await using expected = await WeightsDirectory.open(`${configFrom}/${component}`, { stem });
      const needed = [...expected.names()].filter((name) => component !== 'vae' || /^(decoder|post_quant)/.test(name));
      assert.ok(needed.length > 30);
      for (const name of needed) {
        const [a, b] = [await found.readFloat32(name), await expected.readFloat32(name)];
        assert.deepEqual(a.shape, b.shape, name);
        assert.deepEqual(a.data, b.data, name);
      }
      const inPlace = needed.filter((name) => found.require(name, expected.shapeOf(name) ?? []).file === model.parts.directory);
      assert.deepEqual(inPlace.length, needed.length - (needed.includes(projection) ? 1 : 0), component);
    }
  });

  it('needs tokenizers', async () => {
    const path = await written(tensors);
    await assert.rejects(Model.open({ path }), {
      code: 'MODEL_NOT_FOUND',
      message: /single file and holds no tokenizers: name a directory/,
    });
    await assert.rejects(Model.open({ path, configFrom, tokenizer: workspace.path }), { code: 'TOKENIZER_INVALID' });
  });
});

describe('a file that is no checkpoint of SDXL base is refused by what it is', () => {
  const rows: readonly (readonly [what: string, change: (all: readonly TensorToWrite[]) => readonly TensorToWrite[], message: RegExp])[] = [
    ['a LoRA', () => [tensor('lora_unet_x.lora_down.weight')], /is a LoRA adapter \(give it as spec\.model\.loras/],
    ['Stable Diffusion 1', () => [tensor('cond_stage_model.x')], /is a checkpoint of Stable Diffusion 1 or 2/],
    ['the refiner', () => [tensor('conditioner.embedders.0.model.x')], /is a checkpoint of SDXL's refiner/],
    ['a transformer', () => [tensor('model.diffusion_model.joint_blocks.0.x')], /is a checkpoint of a diffusion transformer/],
    ['one component', () => [tensor('conv_in.weight')], /is one component in diffusers layout/],
    [
      'no VAE',
      (all) => all.filter(({ name }) => !name.startsWith('first_stage')),
      /is a file without a VAE \(no tensor first_stage_model\.decoder\./,
    ],
    [
      'inpainting',
      (all) => all.map((entry) => (entry.name.endsWith('input_blocks.0.0.weight') ? tensor(entry.name, [8, 9, 3, 3]) : entry)),
      /is a checkpoint for inpainting \(its UNet takes 9 channels\)/,
    ],
  ];
  for (const [what, change, message] of rows) {
    it(what, async () => {
      await assert.rejects(Model.open({ path: await written(change(tensors)), configFrom }), { code: 'MODEL_UNSUPPORTED', message });
    });
  }

  it('a tensor that is missing or of another shape is named in both layouts', async () => {
    const name = 'model.diffusion_model.output_blocks.2.2.conv.weight';
    const missing = await written(tensors.filter((entry) => entry.name !== name));
    const expected = /output_blocks\.2\.2\.conv\.weight": expected shape \[32, 32, 3, 3\] \(up_blocks\.0\.upsamplers\.0\.conv\.weight\)/;
    await assert.rejects(Model.open({ path: missing, configFrom }), { code: 'WEIGHTS_INVALID', message: expected });
    const wide = await written(tensors.map((entry) => (entry.name === name ? tensor(name, [32, 16, 3, 3]) : entry)));
    await assert.rejects(Model.open({ path: wide, configFrom }), { message: /found shape \[32, 16, 3, 3\].*another architecture/ });
    const joined = 'conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight';
    const short = await written(tensors.map((entry) => (entry.name === joined ? tensor(joined, [48, 48]) : entry)));
    await assert.rejects(Model.open({ path: short, configFrom }), {
      message: /in_proj_weight": expected shape \[144, 48\] \(query, key and value\)/,
    });
  });
});

it("a file's architecture is SDXL base's where no other is named", async () => {
  await assert.rejects(Model.open({ path: await written(tensors), tokenizer: configFrom }), {
    code: 'WEIGHTS_INVALID',
    message: /expected shape \[3840, 48\].*found shape.*another architecture than the configs \(SDXL base's/,
  });
});

describe("a single file's noise schedule", () => {
  it('is what its own marks say', async () => {
    const path = await written([...tensors, tensor('v_pred', [0]), tensor('ztsnr', [0])]);
    // Obeyed where the scheduler can, refused by name where it cannot: never ignored.
    await Model.open({ path, configFrom }).then(
      async (model) => {
        assert.notEqual(model.parts.configDigest, (await plain()).parts.configDigest);
        await model.close();
      },
      (error: unknown) => {
        assert.match(String(error), /prediction_type is "v_prediction"/);
      },
    );
  });

  async function plain(): Promise<Model> {
    const model = await Model.open({ path: await written(tensors), configFrom });
    await model.close();
    return model;
  }
});
