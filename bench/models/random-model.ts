/**
 * Writes a model with random weights in diffusers layout: `node dist/bench/models/random-model.js medium /tmp/medium [f16|f32]`.
 * The graphs say which weights there are; their scale keeps activations of order one.
 */
import { cp, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Graph } from '../../runtime/graph/index.js';
import {
  buildClipText,
  buildUnet,
  buildVaeDecoder,
  parseClipTextConfig,
  parseUnetConfig,
  parseVaeConfig,
  type JsonObject,
} from '../../runtime/models/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { elementCount, float32ToFloat16, Generator } from '../../runtime/tensor/index.js';
import { writeSafetensors, type TensorToWrite } from '../../runtime/weights/index.js';
import { architectures, type ArchitectureName } from './architectures.js';

export type RandomDType = 'f16' | 'f32';

/** Values are taken from one block of normal numbers, at an offset of each tensor's own: billions are made in seconds. */
const blockLength = 1 << 20;

/** Writes the model into `directory`, unless it is there already. */
export async function writeRandomModel(name: ArchitectureName, directory: string, dtype: RandomDType): Promise<void> {
  const index = join(directory, 'model_index.json');
  if (await stat(index).then(() => true, () => false)) return;
  const { unet, vae, textEncoder, textEncoder2 } = architectures[name];
  const graphs = {
    unet: buildUnet(parseUnetConfig(unet, 'unet')),
    vae: buildVaeDecoder(parseVaeConfig(vae, 'vae')),
    text_encoder: buildClipText(parseClipTextConfig(textEncoder, 'text_encoder'), 'text_encoder', 'text_model.'),
    text_encoder_2: buildClipText(parseClipTextConfig(textEncoder2, 'text_encoder_2'), 'text_encoder_2', 'text_model.'),
  };
  const normal = new Generator(0).randn([blockLength]).data;
  await writeComponent(join(directory, 'unet'), unet, graphs.unet, 'diffusion_pytorch_model', normal, dtype);
  await writeComponent(join(directory, 'vae'), vae, graphs.vae, 'diffusion_pytorch_model', normal, dtype);
  await writeComponent(join(directory, 'text_encoder'), textEncoder, graphs.text_encoder, 'model', normal, dtype);
  await writeComponent(join(directory, 'text_encoder_2'), textEncoder2, graphs.text_encoder_2, 'model', normal, dtype);
  for (const part of ['tokenizer', 'tokenizer_2', 'scheduler']) {
    await cp(packageFile(`test/fixtures/random-sdxl/${part}`), join(directory, part), { recursive: true });
  }
  // Last: a model without its index is not taken for complete.
  await cp(packageFile('test/fixtures/random-sdxl/model_index.json'), index);
}

async function writeComponent(
  directory: string,
  config: JsonObject,
  graph: Graph,
  stem: string,
  normal: Float32Array,
  dtype: RandomDType,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  const tensors = graph.weights.map(({ key, shape }, position): TensorToWrite => {
    const data = (): Iterable<Uint8Array> => randomBytes(elementCount(shape), distribution(key, shape), normal, position, dtype);
    return { name: key, dtype: dtype === 'f16' ? 'F16' : 'F32', shape, data };
  });
  await writeSafetensors(join(directory, `${stem}.safetensors`), tensors);

  await writeFile(join(directory, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
}

function distribution(key: string, shape: readonly number[]): { readonly mean: number; readonly deviation: number } {
  if (shape.length === 1) return key.endsWith('.bias') ? { mean: 0, deviation: 0.02 } : { mean: 1, deviation: 0.1 };
  const fanIn = elementCount(shape.slice(1));
  return { mean: 0, deviation: key.includes('embedding.weight') ? 0.5 : 1 / Math.sqrt(fanIn) };
}

/** Many tensors share a distribution. */
const scaledBlocks = new Map<string, Float32Array | Uint16Array>();

function scaledBlock(normal: Float32Array, mean: number, deviation: number, dtype: RandomDType): Float32Array | Uint16Array {
  const key = [mean, deviation, dtype].join();
  const known = scaledBlocks.get(key);
  if (known !== undefined) return known;
  const values = normal.map((value) => mean + deviation * value);
  const block = dtype === 'f32' ? values : float32ToFloat16(values);
  scaledBlocks.set(key, block);
  return block;
}

function* randomBytes(
  count: number,
  { mean, deviation }: { readonly mean: number; readonly deviation: number },
  normal: Float32Array,
  position: number,
  dtype: RandomDType,
): globalThis.Generator<Uint8Array, void> {
  const block = scaledBlock(normal, mean, deviation, dtype);
  let offset = (position * 7919) % blockLength;
  for (let left = count; left > 0; ) {
    const taken = Math.min(left, blockLength - offset);
    const piece = block.subarray(offset, offset + taken);
    yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    left -= taken;
    offset = 0;
  }
}

if (import.meta.filename === process.argv[1]) {
  const [, , name = '', directory = '', dtype = 'f32'] = process.argv;
  if (!(name in architectures) || directory === '' || (dtype !== 'f16' && dtype !== 'f32')) {
    process.stderr.write(`usage: random-model ${Object.keys(architectures).join('|')} DIRECTORY [f16|f32]\n`);
    process.exitCode = 2;
  } else {
    await writeRandomModel(name as ArchitectureName, directory, dtype);
  }
}
