import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Model } from '../../../runtime/pipeline/index.js';
import { fixture } from '../../support/fixtures.js';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sdxl-model-'));
  await cp(fixture('random-sdxl'), join(directory, 'model'), { recursive: true });
});
after(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function digest(): Promise<string> {
  await using model = await Model.open(join(directory, 'model'));
  return await model.digest(join(directory, 'cache'));
}

/** Runs `body` with a file changed, and puts it back. */
async function withChanged(file: string, change: (content: Buffer) => Buffer | string, body: () => Promise<void>): Promise<void> {
  const path = join(directory, 'model', file);
  const original = await readFile(path);
  await writeFile(path, change(Buffer.from(original)));
  try {
    await body();
  } finally {
    await writeFile(path, original);
  }
}

describe("a model's digest", () => {
  it('changes with every file that can change an image: configs, tokenizers, weights', async () => {
    const unchanged = await digest();
    const files = (await readdir(join(directory, 'model'), { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(join(directory, 'model').length + 1));
    assert.ok(files.length >= 15, files.join(', '));
    for (const file of files) {
      const change = (content: Buffer): Buffer => {
        if (!file.endsWith('.safetensors')) return Buffer.concat([content, Buffer.from('\n')]);
        content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
        return content;
      };
      await withChanged(file, change, async () => {
        assert.notEqual(await digest(), unchanged, file);
      });
    }
    assert.equal(await digest(), unchanged);
  });
});

describe("a model's sampler", () => {
  const file = 'scheduler/scheduler_config.json';
  const withClass = (name: string) => (content: Buffer) =>
    JSON.stringify({ ...(JSON.parse(content.toString()) as object), _class_name: name });

  it('is the one its file names, unless the job takes another with the same file', async () => {
    await using model = await Model.open(join(directory, 'model'));
    assert.equal(model.scheduler().className, 'EulerDiscreteScheduler');
    const options = { timestepSpacing: 'trailing' };
    const chosen = model.scheduler({ className: 'DDIMScheduler', options });
    assert.equal(chosen.className, 'DDIMScheduler');
    assert.equal(chosen.setTimesteps(4).timesteps[0], 999);
  });

  it('is refused by name only where it is used: another one may do', async () => {
    await withChanged(file, withClass('SASolverScheduler'), async () => {
      await using model = await Model.open(join(directory, 'model'));
      assert.throws(() => model.scheduler(), {
        code: 'MODEL_UNSUPPORTED',
        message: /SASolverScheduler.*supported: EulerDiscreteScheduler/,
      });
      assert.equal(model.scheduler({ className: 'UniPCMultistepScheduler' }).className, 'UniPCMultistepScheduler');
    });
  });

  it('may have a bound that is no JSON, as Python writes it', async () => {
    const unclipped = (content: Buffer): string => content.toString().replace('{', '{ "lambda_min_clipped": -Infinity,');
    await withChanged(file, unclipped, async () => {
      await using model = await Model.open(join(directory, 'model'));
      assert.equal(model.scheduler({ className: 'DPMSolverMultistepScheduler' }).numTrainTimesteps, 1000);
    });
  });
});

describe('a model that is not supported is refused by the name of the field', () => {
  const cases: readonly (readonly [file: string, field: string, value: unknown, message: RegExp])[] = [
    ['model_index.json', '_class_name', 'StableDiffusionPipeline', /model_index\.json: _class_name is "StableDiffusionPipeline"/],
    ['model_index.json', 'unet', ['diffusers', 'UNet3DConditionModel'], /unet is "UNet3DConditionModel", supported: UNet2DConditionModel/],
    ['unet/config.json', 'use_linear_projection', false, /use_linear_projection is false, supported: true/],
    ['unet/config.json', 'resnet_time_scale_shift', 'scale_shift', /resnet_time_scale_shift is "scale_shift", supported: "default"/],
    ['unet/config.json', 'new_field', 1, /new_field is 1, supported: null \(this field is not supported\)/],
    ['unet/config.json', 'cross_attention_dim', 2048, /cross_attention_dim is 2048, the other components need 80/],
    ['vae/config.json', 'scaling_factor', 0, /scaling_factor is 0, supported: a number above 0/],
    ['vae/config.json', 'latents_mean', [0, 0, 0, 0], /latents_mean is \[0,0,0,0\], supported: null/],
    ['text_encoder/config.json', 'hidden_act', 'relu', /hidden_act is "relu", supported: "quick_gelu" or "gelu"/],
    ['text_encoder/config.json', 'eos_token_id', 99_999, /eos_token_id is 99999, supported: an id below vocab_size 1024/],
  ];
  for (const [file, field, value, message] of cases) {
    it(`${file}: ${field}`, async () => {
      const change = (content: Buffer): string => JSON.stringify({ ...(JSON.parse(content.toString()) as object), [field]: value });
      await withChanged(file, change, async () => {
        await assert.rejects(Model.open(join(directory, 'model')), { code: 'MODEL_UNSUPPORTED', message });
      });
    });
  }

  it('names a config that is missing or no JSON', async () => {
    await assert.rejects(Model.open(join(directory, 'nowhere')), { code: 'MODEL_NOT_FOUND', message: /nowhere is not an SDXL model/ });
    await withChanged(
      'unet/config.json',
      () => '{',
      async () => {
        await assert.rejects(Model.open(join(directory, 'model')), {
          code: 'MODEL_UNSUPPORTED',
          message: /unet\/config\.json is not JSON/,
        });
      },
    );
  });
});

describe('a variant of the weights', () => {
  it('is one that some component has', async () => {
    const path = join(directory, 'variants');
    await cp(fixture('random-sdxl'), path, { recursive: true });
    const name = 'unet/diffusion_pytorch_model';
    await rename(join(path, `${name}.safetensors`), join(path, `${name}.fp16.safetensors`));
    for (const variant of [undefined, 'fp16']) {
      await using model = await Model.open({ path, ...(variant === undefined ? {} : { variant }) });
      assert.match(model.parts.unet.weights.files[0]?.path ?? '', /fp16\.safetensors$/);
      assert.match(model.parts.vae.weights.files[0]?.path ?? '', /model\.safetensors$/);
    }
    await assert.rejects(Model.open({ path, variant: 'ema' }), {
      code: 'MODEL_NOT_FOUND',
      message:
        /no component has weights of the variant "ema", found fp16: name one of them, or none for the plain weights \(spec\.model\.variant, --variant\)$/,
    });
  });

  it('is not asked of a model that has plain weights only', async () => {
    await assert.rejects(Model.open({ path: fixture('random-sdxl'), variant: 'fp16' }), {
      code: 'MODEL_NOT_FOUND',
      message: /of the variant "fp16", found no variants: leave it out to read the plain weights \(spec\.model\.variant, --variant\)$/,
    });
  });
});
