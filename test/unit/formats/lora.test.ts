import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { Model } from '../../../runtime/pipeline/index.js';
import { float16ToFloat32, float32ToFloat16 } from '../../../runtime/tensor/index.js';
import { WeightsDirectory, writeSafetensors, type TensorToWrite } from '../../../runtime/weights/index.js';
import { fixture } from '../../support/fixtures.js';
import { Workspace } from '../../support/sdxl.js';

const path = fixture('random-sdxl');
const module = 'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q';
let workspace: Workspace;
before(async () => {
  workspace = await Workspace.open();
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

function floats(name: string, shape: readonly number[], values: readonly number[]): TensorToWrite {
  return { name, dtype: 'F32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

const columns = Array.from({ length: 16 }, (_, index) => index);
/** up × down is 1 in the first row's first column and 2 in the second. */
const down = (name: string): TensorToWrite =>
  floats(
    name,
    [1, 16],
    columns.map((column) => (column < 2 ? column + 1 : 0)),
  );
const up = (name: string): TensorToWrite =>
  floats(
    name,
    [16, 1],
    columns.map((row) => (row === 0 ? 1 : 0)),
  );

let files = 0;
async function adapter(tensors: readonly TensorToWrite[], metadata?: Record<string, string>): Promise<string> {
  const file = workspace.file(`lora-${files++}.safetensors`);
  await writeSafetensors(file, tensors, metadata);
  return file;
}

/** How the adapters change the first row of the module's weight. */
async function change(
  loras: readonly { readonly path: string; readonly weight: number }[],
  dtype: 'f32' | 'f16' = 'f32',
): Promise<number[]> {
  await using model = await Model.open({ path, loras });
  await using plain = await WeightsDirectory.open(`${path}/unet`, { stem: 'diffusion_pytorch_model' });
  await model.materialize({ cacheDirectory: workspace.file('cache'), dtype });
  const [after, before] = [await model.parts.unet.weights.readFloat32(`${module}.weight`), await plain.readFloat32(`${module}.weight`)];
  const base = dtype === 'f32' ? before.data : float16ToFloat32(float32ToFloat16(before.data));
  return [...after.data.subarray(0, 3)].map((value, index) => Math.round((value - (base[index] ?? 0)) * 1000) / 1000);
}

describe('a LoRA adapter', () => {
  const peft = [down(`unet.${module}.lora_A.weight`), up(`unet.${module}.lora_B.weight`)];
  const kohyaName = 'lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q';
  const kohya = [down(`${kohyaName}.lora_down.weight`), up(`${kohyaName}.lora_up.weight`)];

  it('adds weight × alpha / rank × up × down', async () => {
    assert.deepEqual(await change([{ path: await adapter(peft), weight: 1 }]), [1, 2, 0]);
    assert.deepEqual(await change([{ path: await adapter(peft), weight: -0.5 }]), [-0.5, -1, 0]);
    const alpha = floats(`${kohyaName}.alpha`, [], [4]);
    assert.deepEqual(await change([{ path: await adapter([...kohya, alpha]), weight: 0.5 }]), [2, 4, 0]);
    const integer: TensorToWrite = {
      name: `${kohyaName}.alpha`,
      dtype: 'I64',
      shape: [],
      data: new Uint8Array(BigInt64Array.of(3n).buffer),
    };
    assert.deepEqual(await change([{ path: await adapter([...kohya, integer]), weight: 1 }]), [3, 6, 0]);
    assert.deepEqual(
      await change([
        { path: await adapter(peft), weight: 1 },
        { path: await adapter(kohya), weight: 0.25 },
      ]),
      [1.25, 2.5, 0],
    );
  });

  it('takes its alpha from the metadata of PEFT', async () => {
    const metadata = (fields: object): Record<string, string> => ({ lora_adapter_metadata: JSON.stringify(fields) });
    assert.deepEqual(await change([{ path: await adapter(peft, metadata({ 'unet.lora_alpha': 3 })), weight: 1 }]), [3, 6, 0]);
    const own = metadata({ 'unet.lora_alpha': 3, 'unet.alpha_pattern': { 'attn1.to_q': 0.5 } });
    assert.deepEqual(await change([{ path: await adapter(peft, own), weight: 1 }]), [0.5, 1, 0]);
  });

  it('finds a text encoder by names with text_model and without', async () => {
    const layer = 'encoder.layers.0.self_attn.q_proj';
    const flat = layer.replaceAll('.', '_');
    const spellings = [
      [`text_encoder.text_model.${layer}.lora_A.weight`, `text_encoder.text_model.${layer}.lora_B.weight`],
      [`text_encoder.${layer}.lora_A.weight`, `text_encoder.${layer}.lora_B.weight`],
      [`lora_te1_text_model_${flat}.lora_down.weight`, `lora_te1_text_model_${flat}.lora_up.weight`],
      [`lora_te1_${flat}.lora_down.weight`, `lora_te1_${flat}.lora_up.weight`],
    ] as const;
    const name = `text_model.${layer}.weight`;
    await using plain = await WeightsDirectory.open(`${path}/text_encoder`, { stem: 'model' });
    const before = (await plain.readFloat32(name)).data[0] ?? 0;
    for (const [lower, upper] of spellings) {
      const ones = Array.from({ length: 32 }, () => 1);
      const file = await adapter([floats(lower, [1, 32], ones), floats(upper, [32, 1], ones)]);
      await using model = await Model.open({ path, loras: [{ path: file, weight: 1 }] });
      await model.materialize({ cacheDirectory: workspace.file('cache'), dtype: 'f32' });
      const merged = (await model.parts.textEncoder.weights.readFloat32(name)).data[0] ?? 0;
      assert.ok(Math.abs(merged - before - 1) < 1e-5, lower);
    }
  });

  it('is stored in the type the backend computes in', async () => {
    const file = await adapter(peft);
    const [first = 0, second = 0] = await change([{ path: file, weight: 1 }], 'f16');
    assert.ok(Math.abs(first - 1) < 2e-3 && Math.abs(second - 2) < 2e-3);
    await using model = await Model.open({ path, loras: [{ path: file, weight: 1 }] });
    await model.materialize({ cacheDirectory: workspace.file('cache'), dtype: 'f16' });
    assert.equal(model.parts.unet.weights.require(`${module}.weight`, [16, 16]).dtype, 'F16');
  });

  it('is merged once; a damaged result is made again', async () => {
    const loras = [{ path: await adapter(peft), weight: 0.125 }];
    const cacheDirectory = workspace.file('once');
    const notes: string[] = [];
    const merge = async (): Promise<number> => {
      await using model = await Model.open({ path, loras });
      await model.materialize({ cacheDirectory, dtype: 'f32', onNote: (note) => notes.push(note) });
      return (await model.parts.unet.weights.readFloat32(`${module}.weight`)).data[0] ?? 0;
    };
    const first = await merge();
    assert.equal(await merge(), first);
    assert.deepEqual(notes, ['making 1 merged tensors of unet']);
    const [name = ''] = (await readdir(`${cacheDirectory}/weights`)).filter((file) => file.endsWith('.safetensors'));
    const file = `${cacheDirectory}/weights/${name}`;
    const content = await readFile(file);
    content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
    await writeFile(file, content);
    assert.equal(await merge(), first);
    assert.match(notes[1] ?? '', /is damaged and made again/);
    await writeFile(file, content.subarray(0, 40));
    assert.equal(await merge(), first);
    assert.match(notes[3] ?? '', /is damaged and made again/);
  });

  it('is part of the digest that ranks compare, with its weight', async () => {
    const digest = async (loras: readonly { readonly path: string; readonly weight: number }[]): Promise<string> => {
      await using model = await Model.open({ path, loras });
      return await model.digest(workspace.file('cache'));
    };
    const [a, b] = [await adapter(peft), await adapter([...peft, floats(`unet.${module}.alpha`, [], [2])])];
    const all = await Promise.all([
      digest([]),
      digest([{ path: a, weight: 1 }]),
      digest([{ path: a, weight: 0.5 }]),
      digest([{ path: b, weight: 1 }]),
      digest([
        { path: a, weight: 1 },
        { path: b, weight: 1 },
      ]),
    ]);
    assert.equal(new Set(all).size, all.length);
    assert.equal(await digest([{ path: await adapter(peft), weight: 1 }]), all[1]);
  });

  const rows: readonly (readonly [what: string, tensors: readonly TensorToWrite[], message: RegExp, metadata?: Record<string, string>])[] =
    [
      [
        'of an unknown module',
        [down('unet.nowhere.lora_A.weight'), up('unet.nowhere.lora_B.weight')],
        /unet\.nowhere, which this model has not/,
      ],
      ['with half a pair', peft.slice(0, 1), /attn1\.to_q\.lora_A\.weight": expected an up matrix beside it, found none/],
      [
        'with a key nobody knows',
        [...peft, floats('something', [1], [1])],
        /tensor "something": expected LoRA matrices.*belongs to no LoRA/,
      ],
      [
        'of another shape',
        [floats(`unet.${module}.lora_A.weight`, [1, 8], columns.slice(8)), up(`unet.${module}.lora_B.weight`)],
        /lora_A\.weight": expected shape \[1, 16\] to fit unet down_blocks.*found shape \[1, 8\]/,
      ],
      [
        'of ranks that differ',
        [down(`unet.${module}.lora_A.weight`), floats(`unet.${module}.lora_B.weight`, [16, 2], [...columns, ...columns])],
        /lora_B\.weight": expected shape \[16, 1\].*found shape \[16, 2\]/,
      ],
      ['of DoRA', [...kohya, floats(`${kohyaName}.dora_scale`, [16, 1], columns)], /found DoRA/],
      ['of LoHa', [floats(`${kohyaName}.hada_w1_a`, [1], [1])], /found LoHa/],
      ['of DoRA by its metadata', peft, /found DoRA/, { lora_adapter_metadata: '{"unet.use_dora":true}' }],
      ['with metadata that is no JSON', peft, /expected JSON in lora_adapter_metadata/, { lora_adapter_metadata: '{' }],
      [
        'with an alpha that is no number',
        [...kohya, floats(`${kohyaName}.alpha`, [], [Number.NaN])],
        /alpha": expected one finite number, found NaN/,
      ],
      ['with two alphas', [...kohya, floats(`${kohyaName}.alpha`, [2], [1, 2])], /alpha": expected one finite number/],
      ['of no tensors', [], /found a file without tensors/],
    ];
  for (const [what, tensors, message, metadata] of rows) {
    it(`${what} is refused`, async () => {
      const file = await adapter(tensors, metadata);
      await assert.rejects(Model.open({ path, loras: [{ path: file, weight: 1 }] }), { code: 'WEIGHTS_INVALID', message });
    });
  }

  it('that makes numbers overflow is refused', async () => {
    const huge = floats(
      `unet.${module}.lora_B.weight`,
      [16, 1],
      columns.map(() => 3e38),
    );
    const file = await adapter([down(`unet.${module}.lora_A.weight`), huge]);
    await using model = await Model.open({ path, loras: [{ path: file, weight: 99 }] });
    await assert.rejects(model.materialize({ cacheDirectory: workspace.file('cache'), dtype: 'f32' }), {
      code: 'WEIGHTS_INVALID',
      message: /expected finite numbers once the adapters are merged in/,
    });
  });
});
