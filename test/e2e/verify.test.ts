/** `sdxl verify` against what diffusers made. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fixture } from '../support/fixtures.js';
import { goldenRequests } from '../support/golden-images.js';
import { sdxl, Workspace } from '../support/sdxl.js';

const request = goldenRequests('formats/lora-images.json')['lora-kohya'] ?? assert.fail();
const reference = fixture('formats/stages.npz');
let workspace: Workspace;
before(async () => {
  workspace = await Workspace.open();
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

function job(seed: bigint): string[] {
  const options = {
    model: fixture('random-sdxl'),
    prompt: request.prompt,
    'negative-prompt': request.negativePrompt ?? '',
    height: request.height,
    width: request.width,
    'num-inference-steps': request.numInferenceSteps,
    'guidance-scale': request.guidanceScale,
    seed,
  };
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

test('the same request is the same in every stage', async () => {
  const { code, stdout, stderr } = await sdxl(['verify', ...job(request.seed), '--reference', reference, '--json'], {
    cwd: workspace.path,
  });
  assert.equal(code, 0, stderr);
  const { same, stages } = JSON.parse(stdout) as { same: boolean; stages: { stage: string; decibels: number }[] };
  assert.equal(same, true);
  assert.deepEqual(
    stages.map(({ stage }) => stage),
    ['prompt_embeds', 'pooled_prompt_embeds', 'initial_latents', 'latents.0', 'latents.1', 'latents.2', 'latents.3', 'image'],
  );
  for (const { stage, decibels } of stages) assert.ok(decibels >= 100, `${stage}: ${decibels} dB`);
});

test('another seed parts in the noise, and the message says so', async () => {
  const { code, stdout, stderr } = await sdxl(['verify', ...job(1n), '--reference', reference], { cwd: workspace.path });
  assert.equal(code, 4);
  assert.match(stderr, /error IMAGE_DIFFERS: .*stages\.npz differs from ours in initial_latents, at -?\d+\.\d dB/u);
  assert.match(stdout, /They part in initial_latents[^]*torch\.Generator\("cpu"\)/u);
  assert.match(stdout, /prompt_embeds +\| 1x77x80/u);
});

test('a finished image is compared without making one', async () => {
  const image = fixture('formats/image-lora-kohya.safetensors');
  const same = await sdxl(['verify', '--image', image, '--reference', image], { cwd: workspace.path });
  assert.equal(same.code, 0, same.stderr);
  assert.match(same.stdout, /\| equal/u);
  const other = await sdxl(['verify', '--image', image, '--reference', reference], { cwd: workspace.path });
  assert.equal(other.code, 4);
  const missing = await sdxl(['verify', '--image', image], { cwd: workspace.path });
  assert.match(missing.stderr, /error USAGE: --reference is missing/u);
  assert.equal(missing.code, 2);
});
