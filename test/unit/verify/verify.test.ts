import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { encode } from 'fast-png';
import { float32, type Tensor } from '../../../runtime/tensor/index.js';
import { compareStages, diagnose, firstDifference, readReference, type Stages } from '../../../runtime/verify/index.js';
import { parseNpy } from '../../../runtime/verify/npy.js';
import { fixture } from '../../support/fixtures.js';
import { Workspace } from '../../support/sdxl.js';

let workspace: Workspace;
let reference: Stages;
before(async () => {
  workspace = await Workspace.open();
  reference = await readReference(fixture('formats/stages.npz'));
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

/** The reference with one stage changed, and every stage after it. */
function changed(from: string, change: (value: number, index: number) => number): Stages {
  const order = ['prompt_embeds', 'pooled_prompt_embeds', 'initial_latents', 'latents.0', 'latents.1', 'latents.2', 'latents.3', 'image'];
  return new Map(
    [...reference].map(([stage, { shape, data }]) => [
      stage,
      order.indexOf(stage) < order.indexOf(from) ? float32(shape, data) : float32(shape, data.map(change)),
    ]),
  );
}

describe('what diffusers made', () => {
  it('is read from NumPy’s compressed archive, every stage of it', () => {
    assert.deepEqual([...reference.keys()].sort(), [
      'image',
      'initial_latents',
      'latents.0',
      'latents.1',
      'latents.2',
      'latents.3',
      'pooled_prompt_embeds',
      'prompt_embeds',
    ]);
    assert.deepEqual(reference.get('image')?.shape, [3, 64, 96]);
    assert.deepEqual(reference.get('prompt_embeds')?.shape, [1, 77, 80]);
  });

  it('may be a PNG, with or without transparency', async () => {
    for (const channels of [3, 4]) {
      const data = Uint8Array.from({ length: 2 * 2 * channels }, (_, index) => index * 10);
      const path = workspace.file(`${channels}.png`);
      await writeFile(path, encode({ width: 2, height: 2, channels, depth: 8, data }));
      const image = (await readReference(path)).get('image');
      assert.deepEqual(image?.shape, [3, 2, 2]);
      assert.deepEqual(Math.round((image.data[1] ?? 0) * 255), channels * 10);
    }
  });

  it('that cannot be read is told by what is wrong with it', async () => {
    const cases: readonly (readonly [name: string, content: Buffer, says: RegExp])[] = [
      ['a.txt', Buffer.from('x'), /files of type "\.txt" are not read: give a \.png/],
      ['a.npy', Buffer.from('nonsense'), /it is no \.npy file/],
      ['cut.npy', Buffer.from('\u0093NUMPY\u0001\u0000', 'latin1'), /cut\.npy: it is cut short or damaged: give/],
      ['cut2.npy', Buffer.from("\u0093NUMPY\u0001\u0000\u00c8\u0000{'descr': '<f4'", 'latin1'), /its header is cut short/],
      ['a.npz', Buffer.from('nonsense'), /a ZIP directory is missing/],
      ['b.npz', (await readFile(fixture('formats/stages.npz'))).subarray(4000), /damaged|out of range|outside|no \.npy/i],
      ['a.png', Buffer.from('nonsense'), /a\.png: /],
      ['a.safetensors', Buffer.from('nonsense'), /a\.safetensors: /],
    ];
    for (const [name, content, says] of cases) {
      const path = workspace.file(name);
      await writeFile(path, content);
      await assert.rejects(readReference(path), { message: says });
    }
    await assert.rejects(readReference(workspace.file('none.npy')), { code: 'USAGE', message: /ENOENT/ });
  });

  it('of other number types is read, and refused where it is none', () => {
    const npy = (descr: string, shape: string, data: Buffer): Buffer => {
      const header = Buffer.from(`{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }\n`);
      const start = Buffer.alloc(10);
      start.write('\u0093NUMPY\u0001\u0000', 'latin1');
      start.writeUInt16LE(header.length, 8);
      return Buffer.concat([start, header, data]);
    };
    assert.deepEqual(parseNpy(npy('<f8', '2,', Buffer.from(Float64Array.of(0.5, -2).buffer))).data, Float32Array.of(0.5, -2));
    assert.deepEqual(parseNpy(npy('<f2', '1, 1', Buffer.from([0, 0x3c]))).data, Float32Array.of(1));
    assert.deepEqual(parseNpy(npy('|u1', '2', Buffer.from([0, 255]))).data, Float32Array.of(0, 1));
    assert.throws(() => parseNpy(npy('<c8', '1', Buffer.alloc(8))), /of type <c8/);
    assert.throws(() => parseNpy(npy('<f4', '3', Buffer.alloc(8))), /has 8 bytes, not 12/);
  });
});

describe('where two runs part', () => {
  const rows: readonly (readonly [what: string, ours: () => Stages, stage: string, cause: RegExp])[] = [
    ['another prompt', () => changed('prompt_embeds', (_, index) => Math.sin(index)), 'prompt_embeds', /check text, negative prompt/],
    [
      'another seed',
      () => changed('initial_latents', (_, index) => Math.sin(index * 7.3) * 10),
      'initial_latents',
      /torch\.Generator\("cpu"\)/,
    ],
    [
      'unscaled noise',
      () => changed('initial_latents', (value) => value / 13),
      'initial_latents',
      /up to a factor of 0\.07.*init_noise_sigma/,
    ],
    ['another schedule', () => changed('latents.0', (value) => value * 0.8), 'latents.0', /timestep_spacing/],
    ['half precision', () => changed('latents.1', (value) => value * 1.02), 'latents.1', /fp16 or bf16/],
    ['another VAE', () => changed('image', (value) => value * 0.9), 'image', /only the VAE differs.*force_upcast/],
  ];
  for (const [what, ours, stage, cause] of rows) {
    it(what, () => {
      const stages = compareStages(ours(), reference);
      assert.equal(stages.length, 8);
      assert.equal(firstDifference(stages)?.stage, stage);
      assert.match(diagnose(stages)[0] ?? '', cause);
    });
  }

  it('nowhere', () => {
    const stages = compareStages(reference, reference);
    assert.equal(firstDifference(stages), undefined);
    assert.deepEqual(diagnose(stages), []);
  });

  it('another size, and a reference that is not finite', () => {
    const image = (shape: readonly number[], value: number): Map<string, Tensor<'f32'>> =>
      new Map([['image', float32(shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value))]]);
    const sizes = compareStages(image([3, 8, 8], 0.5), image([3, 8, 16], 0.5));
    assert.match(diagnose(sizes)[0] ?? '', /its shape is \[3, 8, 16\], ours \[3, 8, 8\]/);
    const black = compareStages(image([3, 8, 8], 0.5), image([3, 8, 8], Number.NaN));
    assert.match(diagnose(black)[0] ?? '', /VAE overflowed in fp16/);
  });

  it('an image alone', () => {
    const only = (stages: Stages): Stages => new Map([...stages].filter(([stage]) => stage === 'image'));
    const other = compareStages(only(changed('image', (_, index) => ((index * 7919) % 97) / 97)), only(reference));
    assert.match(diagnose(other).at(-1) ?? '', /give (prompt_embeds, )?initial_latents/);
    const near = compareStages(only(changed('image', (value) => value + 0.01)), only(reference));
    assert.match(diagnose(near)[0] ?? '', /fp16 or bf16/);
  });
});
