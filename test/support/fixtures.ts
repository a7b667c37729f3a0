/** Fixtures of the repository, found from the compiled tests. */
import { SafetensorsFile } from '../../runtime/weights/index.js';
import { packageFile } from '../../runtime/package-root.js';
import type { Tensor } from '../../runtime/tensor/index.js';

export function fixture(name: string): string {
  return packageFile(`test/fixtures/${name}`);
}

/** All float tensors of a golden file, named from test/fixtures, without its extension. */
export async function readGolden(name: string): Promise<Record<string, Tensor<'f32'>>> {
  await using file = await SafetensorsFile.open(fixture(`${name}.safetensors`));
  const floats = [...file.tensors.values()].filter(({ dtype }) => dtype === 'F32');
  const entries = await Promise.all(floats.map(async ({ name: key }) => [key, await file.readFloat32(key)] as const));
  return Object.fromEntries(entries);
}

/** Largest absolute difference over the reference's largest magnitude. */
export function relativeError(found: Tensor<'f32'>, reference: Tensor<'f32'>): number {
  let [worst, scale] = [0, 0];
  reference.data.forEach((value, index) => {
    scale = Math.max(scale, Math.abs(value));
    const difference = Math.abs((found.data[index] ?? Number.NaN) - value);
    worst = Number.isNaN(difference) ? Number.NaN : Math.max(worst, difference);
  });
  return worst / scale;
}
