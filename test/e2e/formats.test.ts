/** A single-file model with adapters, from the command line. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { decode } from 'fast-png';
import { fixture } from '../support/fixtures.js';
import { writeOriginal } from '../support/original-layout.js';
import { sdxl, smallJob, Workspace } from '../support/sdxl.js';

const directory = fixture('random-sdxl');
let workspace: Workspace;
before(async () => {
  workspace = await Workspace.open();
  await writeOriginal(workspace.file('model.safetensors'));
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

const lora = `${fixture('formats/lora-kohya.safetensors')}:0.6`;
const other = `${fixture('formats/lora-peft.safetensors')}:-0.5`;

test('a file and a directory with the same adapters make the same image, on one rank and two; merged weights are made once', async () => {
  const env = { SDXL_CACHE_DIR: workspace.file('cache') };
  const adapters = ['--lora', lora, '--lora', other, '--num-inference-steps', '2'];
  const file = smallJob('model.safetensors', '--config-from', directory, ...adapters);
  const first = await sdxl([...file, '--output', 'file.png', '-n', '2'], { cwd: workspace.path, env });
  assert.equal(first.code, 0, first.stderr);
  const made = (stderr: string): number => [...stderr.matchAll(/making \d+ merged tensors of/gu)].length;
  assert.equal(made(first.stderr), 3, first.stderr);
  const again = await sdxl([...file, '--output', 'again.png'], { cwd: workspace.path, env });
  assert.equal(again.code, 0, again.stderr);
  assert.equal(made(again.stderr), 0, again.stderr);
  const plain = await sdxl(smallJob(directory, ...adapters, '--output', 'directory.png'), { cwd: workspace.path, env });
  assert.equal(plain.code, 0, plain.stderr);
  const pixels = async (name: string): Promise<ArrayLike<number>> => decode(await readFile(workspace.file(name))).data;
  assert.deepEqual(await pixels('again.png'), await pixels('directory.png'));
  const record = JSON.parse(await readFile(workspace.file('again.json'), 'utf8')) as Record<string, unknown>;
  assert.deepEqual(record['loras'], [
    { path: fixture('formats/lora-kohya.safetensors'), weight: 0.6 },
    { path: fixture('formats/lora-peft.safetensors'), weight: -0.5 },
  ]);
});

const refused: readonly (readonly [args: readonly string[], says: RegExp])[] = [
  [smallJob('model.safetensors'), /error JOB_INVALID: --tokenizer: a single-file model holds no tokenizers/u],
  [smallJob(directory, '--tokenizer', directory), /error JOB_INVALID: --model: tokenizer and configFrom are for single-file models/u],
  [smallJob(directory, '--variant', 'ema'), /error MODEL_NOT_FOUND: .*no component has weights of the variant "ema"/u],
  [smallJob(directory, '--lora', 'x.pt'), /error JOB_INVALID: --lora: "x\.pt" must end in \.safetensors/u],
  [smallJob(directory, '--lora', 'x.safetensors:100'), /error JOB_INVALID: --lora: "100" must be a decimal from -99\.9999/u],
  [smallJob(directory, '--lora', 'x.safetensors:strong'), /error JOB_INVALID: --lora: "strong" must be a decimal from -99\.9999/u],
  [smallJob(directory, '--lora', 'x.safetensors'), /error MODEL_NOT_FOUND: x\.safetensors can't be opened \(ENOENT\)/u],
  [
    smallJob(directory, '--lora', `${directory}/unet/diffusion_pytorch_model.safetensors`),
    /error WEIGHTS_INVALID: .*expected LoRA matrices/u,
  ],
];
for (const [args, says] of refused) {
  test(`refused before a rank is started: ${String(says)}`, async () => {
    const { code, stderr } = await sdxl(args, { cwd: workspace.path });
    assert.match(stderr, says);
    assert.equal(code, 2);
    assert.doesNotMatch(stderr, /pid=/u);
  });
}
