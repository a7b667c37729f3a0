/** Reads what another program made: a PNG, one array, or several by the names of the stages they come from. */
import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import { decode } from 'fast-png';
import { SdxlError } from '../errors/index.js';
import { float32, type Tensor } from '../tensor/index.js';
import { SafetensorsFile } from '../weights/index.js';
import { parseNpy, parseNpz } from './npy.js';

/**
 * By stage, in whatever order: `prompt_embeds`, `pooled_prompt_embeds`, `initial_latents`, `latents.0` (after the first step) and so on,
 * `latents` (after the last), `image` `[3, height, width]` in [0, 1].
 */
export type Stages = ReadonlyMap<string, Tensor<'f32'>>;

const advice =
  'give a .png, an .npy of an image or of final latents, or an .npz or .safetensors with any of prompt_embeds, pooled_prompt_embeds, initial_latents, latents.0 …, latents, image';

/** @throws SdxlError USAGE naming the file and what is wrong with it */
export async function readReference(path: string): Promise<Stages> {
  const fail = (why: string, cause?: unknown): SdxlError =>
    new SdxlError('USAGE', `${path}: ${why}: ${advice}`, { fields: { file: path }, ...(cause === undefined ? {} : { cause }) });
  try {
    const extension = extname(path).toLowerCase();
    if (extension === '.safetensors') return named(await readTensors(path));
    if (!['.png', '.npy', '.npz'].includes(extension)) throw new RangeError(`files of type "${extension}" are not read`);
    const bytes = await readFile(path);
    if (extension === '.npz') return named(parseNpz(bytes));
    const [name, value] = extension === '.png' ? ['image', readPng(bytes)] : [basename(path, extname(path)), parseNpy(bytes)];
    return named(new Map([[known.test(name) ? name : isLatents(value) ? 'latents' : 'image', value]]));
  } catch (cause) {
    if (cause instanceof SdxlError) throw cause;
    throw fail(isCutShort(cause) ? 'it is cut short or damaged' : cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** A number of a header was read beyond the last byte. */
function isCutShort(cause: unknown): boolean {
  return cause instanceof RangeError && 'code' in cause && cause.code === 'ERR_OUT_OF_RANGE';
}

const known = /^(prompt_embeds|pooled_prompt_embeds|initial_latents|latents(\.\d+)?|image)$/;

function named(tensors: ReadonlyMap<string, Tensor<'f32'>>): Stages {
  const stages = new Map<string, Tensor<'f32'>>();
  for (const [name, value] of tensors) {
    const stage = name.replace(/^latents[_-](\d+)$/, 'latents.$1');
    if (!known.test(stage)) continue;
    stages.set(stage.replace(/\.0+(?=\d)/, '.'), stage === 'image' ? channelsFirst(value) : value);
  }
  if (stages.size > 0) return stages;
  throw new RangeError(`it holds no known stage but ${[...tensors.keys()].join(', ')}`);
}

/** Four channels first, at most four dimensions: nothing an image would be. */
function isLatents({ shape }: Tensor): boolean {
  return shape.at(-3) === 4;
}

/** `[1, …]` and `[height, width, 3]` to `[3, height, width]`. */
function channelsFirst(image: Tensor<'f32'>): Tensor<'f32'> {
  const shape = image.shape.length === 4 && image.shape[0] === 1 ? image.shape.slice(1) : image.shape;
  const [height = 0, width = 0, channels = 0] = shape;
  if (shape.length !== 3) throw new RangeError(`an image of shape [${image.shape.join(', ')}]`);
  if (shape[0] === 3 || channels < 3) return float32(shape, image.data);
  const planes = new Float32Array(3 * height * width);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < 3; channel++) planes[channel * height * width + pixel] = image.data[pixel * channels + channel] ?? 0;
  }
  return float32([3, height, width], planes);
}

function readPng(bytes: Buffer): Tensor<'f32'> {
  const { width, height, channels, depth, data } = decode(bytes);
  if (channels < 3) throw new RangeError(`a PNG of ${String(channels)} channels, where red, green and blue are expected`);
  const most = 2 ** depth - 1;
  return float32(
    [height, width, channels],
    Float32Array.from(data, (value) => value / most),
  );
}

async function readTensors(path: string): Promise<Map<string, Tensor<'f32'>>> {
  await using file = await SafetensorsFile.open(path);
  const tensors = new Map<string, Tensor<'f32'>>();
  for (const { name, dtype } of file.tensors.values()) {
    if (['F32', 'F16', 'BF16'].includes(dtype)) tensors.set(name, await file.readFloat32(name));
  }
  return tensors;
}
