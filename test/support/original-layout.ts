/** Writes the random model as a single file in SDXL's original layout, put together as test/fixtures/formats/original-layout.json says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeightsDirectory, writeSafetensors, type TensorToWrite } from '../../runtime/weights/index.js';
import { fixture } from './fixtures.js';

interface Recipe {
  readonly component: 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2';
  /** Diffusers' tensors, one below the other. */
  readonly keys: readonly string[];
  readonly transpose?: boolean;
  /** Stored as a 1×1 convolution. */
  readonly conv?: boolean;
}

/** The tensors of the checkpoint by their original names, as float32. */
export async function originalTensors(): Promise<TensorToWrite[]> {
  const layout = JSON.parse(readFileSync(fixture('formats/original-layout.json'), 'utf8')) as Record<string, Recipe>;
  const tensors: TensorToWrite[] = [];
  for (const component of ['unet', 'vae', 'text_encoder', 'text_encoder_2'] as const) {
    const stem = component === 'unet' || component === 'vae' ? 'diffusion_pytorch_model' : 'model';
    await using weights = await WeightsDirectory.open(join(fixture('random-sdxl'), component), { stem });
    for (const [name, recipe] of Object.entries(layout)) {
      if (recipe.component !== component) continue;
      const parts = await Promise.all(recipe.keys.map((key) => weights.readFloat32(key)));
      const [rows = 0, ...inner] = parts[0]?.shape ?? [];
      let shape = [rows * parts.length, ...inner];
      let values = Float32Array.from(parts.flatMap(({ data }) => [...data]));
      if (recipe.transpose === true) {
        const [height = 0, width = 0] = shape;
        const source = values;
        values = values.map((_, index) => source[(index % height) * width + Math.floor(index / height)] ?? Number.NaN);
        shape = [width, height];
      }
      if (recipe.conv === true) shape = [...shape, 1, 1];
      tensors.push({ name, dtype: 'F32', shape, data: new Uint8Array(values.buffer) });
    }
  }
  return tensors;
}

export async function writeOriginal(path: string, change: (tensors: TensorToWrite[]) => TensorToWrite[] = (same) => same): Promise<void> {
  await writeSafetensors(path, change(await originalTensors()));
}
