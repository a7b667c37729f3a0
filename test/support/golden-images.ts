/** Golden images: the requests that diffusers answered, and what we make of them on a mesh. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Mesh } from '../../runtime/parallel/index.js';
import type { GeneratedImage, ImageRequest, ModelSource } from '../../runtime/pipeline/index.js';
import { fixture } from './fixtures.js';
import { onMesh } from './rank.js';

interface GoldenImage {
  readonly prompt: string;
  readonly negative_prompt?: string;
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
      },
    ]),
  );
}

/** Rank 0's images, by name. */
export async function generateOn(
  mesh: Mesh,
  model: string | ModelSource,
  requests: Readonly<Record<string, ImageRequest>>,
): Promise<Record<string, GeneratedImage>> {
  const [first] = await onMesh(model, mesh, async (rank) => {
    const pipeline = await rank.pipeline();
    const made: Record<string, GeneratedImage> = {};
    for (const [name, request] of Object.entries(requests)) made[name] = await pipeline.generate(request, { image: 0 });
    return made;
  });
  return first ?? assert.fail('no rank');
}
