/** Golden images: the requests that diffusers answered, and what we make of them on a mesh. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { psnr, standardDeviation } from '../../runtime/image/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import type { CropOffset, GeneratedImage, ImageRequest, ModelSource, PixelSize } from '../../runtime/pipeline/index.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';
import { fixture } from './fixtures.js';
import { onMesh, type Rank } from './rank.js';

interface GoldenImage {
  readonly prompt: string;
  readonly prompt_2?: string;
  readonly negative_prompt?: string;
  readonly negative_prompt_2?: string;
  readonly prompt_syntax?: 'Weighted';
  readonly clip_skip?: number;
  /** Height and width, top and left. */
  readonly original_size?: readonly [number, number];
  readonly crops_coords_top_left?: readonly [number, number];
  readonly target_size?: readonly [number, number];
  readonly negative_original_size?: readonly [number, number];
  readonly negative_crops_coords_top_left?: readonly [number, number];
  readonly negative_target_size?: readonly [number, number];
  readonly height: number;
  readonly width: number;
  readonly guidance_scale: number;
  readonly num_inference_steps: number;
  readonly seed: string;
}

/** The requests of an images.json, by name, in diffusers' own names. */
export function goldenRequests(file: string): Record<string, ImageRequest> {
  const images = JSON.parse(readFileSync(fixture(file), 'utf8')) as Record<string, GoldenImage>;
  return Object.fromEntries(
    Object.entries(images).map(([name, image]) => [
      name,
      {
        prompt: image.prompt,
        negativePrompt: image.negative_prompt,
        height: image.height,
        width: image.width,
        guidanceScale: image.guidance_scale,
        numInferenceSteps: image.num_inference_steps,
        seed: BigInt(image.seed),
        ...(image.prompt_2 === undefined ? {} : { prompt2: image.prompt_2 }),
        ...(image.negative_prompt_2 === undefined ? {} : { negativePrompt2: image.negative_prompt_2 }),
        ...(image.prompt_syntax === undefined ? {} : { promptSyntax: image.prompt_syntax }),
        ...(image.clip_skip === undefined ? {} : { clipSkip: image.clip_skip }),
        ...pixels('originalSize', image.original_size),
        ...offset('cropsCoordsTopLeft', image.crops_coords_top_left),
        ...pixels('targetSize', image.target_size),
        ...pixels('negativeOriginalSize', image.negative_original_size),
        ...offset('negativeCropsCoordsTopLeft', image.negative_crops_coords_top_left),
        ...pixels('negativeTargetSize', image.negative_target_size),
      },
    ]),
  );
}

function pixels<K extends string>(field: K, size: readonly [number, number] | undefined): Partial<Record<K, PixelSize>> {
  return size === undefined ? {} : ({ [field]: { height: size[0], width: size[1] } } as Record<K, PixelSize>);
}

function offset<K extends string>(field: K, at: readonly [number, number] | undefined): Partial<Record<K, CropOffset>> {
  return at === undefined ? {} : ({ [field]: { top: at[0], left: at[1] } } as Record<K, CropOffset>);
}

/** Makes the images on one rank and compares them with those of a safetensors file of the same names, as floats: PSNR ≥ 50 dB. */
export async function compareWithGoldens(
  t: TestContext,
  requests: Readonly<Record<string, ImageRequest>>,
  model: string,
  file: string,
): Promise<void> {
  await using goldens = await SafetensorsFile.open(fixture(file));
  const made = await generateOn({ cfg: 1, patch: 1 }, model, requests);
  for (const name of Object.keys(requests)) {
    const reference = await goldens.readFloat32(name);
    const decibels = psnr(made[name]?.image ?? assert.fail(name), reference);
    t.diagnostic(`${name}: ${decibels.toFixed(1)} dB`);
    assert.ok(decibels >= 50, `${name}: ${String(decibels)} dB`);
    assert.ok(standardDeviation(reference.data) >= 0.1, `${name} could agree by being flat`);
  }
}

/** Of requests by name, those that skip layers of the text encoders, or those that do not: engines differ by it. */
export function thatSkip(requests: Readonly<Record<string, ImageRequest>>, skips: boolean): Record<string, ImageRequest> {
  return Object.fromEntries(Object.entries(requests).filter(([, { clipSkip = 0 }]) => clipSkip > 0 === skips));
}

/** Rank 0's images, by name; all skip as many layers as the first. */
export async function generateOn(
  mesh: Mesh,
  model: string | ModelSource,
  requests: Readonly<Record<string, ImageRequest>>,
): Promise<Record<string, GeneratedImage>> {
  const { clipSkip = 0 } = Object.values(requests)[0] ?? {};
  const make = async (rank: Rank): Promise<Record<string, GeneratedImage>> => {
    const pipeline = await rank.pipeline();
    const made: Record<string, GeneratedImage> = {};
    for (const [name, request] of Object.entries(requests)) made[name] = await pipeline.generate(request, { image: 0 });
    return made;
  };
  const [first] = await onMesh(model, mesh, make, { clipSkip });
  return first ?? assert.fail('no rank');
}
