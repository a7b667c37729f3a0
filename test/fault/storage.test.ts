/** Storage that is full, cut short or damaged. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { decode } from 'fast-png';
import { Model } from '../../runtime/pipeline/index.js';
import { fixture } from '../support/fixtures.js';
import { sdxl, smallJob, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
let shared: Workspace;
let env: Record<string, string>;
let undisturbed: ArrayLike<number>;
const pixels = async (path: string): Promise<ArrayLike<number>> => decode(await readFile(path)).data;

before(async () => {
  shared = await Workspace.open();
  env = { SDXL_CACHE_DIR: shared.file('cache') };
  const { code, stderr } = await sdxl(smallJob(model, '--output', 'x.png'), { cwd: shared.path, env });
  assert.equal(code, 0, stderr);
  undisturbed = await pixels(shared.file('x.png'));
});
after(async () => {
  await shared[Symbol.asyncDispose]();
});

/** A file system of `size` at `path`; undefined, and the test skipped, where none may be mounted. */
async function mounted(t: TestContext, path: string, size: string): Promise<AsyncDisposable | undefined> {
  await mkdir(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path], { stdio: 'pipe' });
  } catch {
    t.skip('no permission to mount a file system');
    return undefined;
  }
  return {
    [Symbol.asyncDispose]: async () => {
      execFileSync('umount', [path]);
    },
  };
}

describe('a disk that is full', () => {
  test('for images: no partial image, and the next run makes it', async (t) => {
    await using workspace = await Workspace.open();
    await using disk = await mounted(t, workspace.file('out'), '16k');
    if (disk === undefined) return;
    const args = smallJob(model, '--output', 'out/x.png');
    const { code, stderr } = await sdxl(args, { cwd: workspace.path, env });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /^error OUTPUT_UNWRITABLE: .*(ENOSPC|no space)/mu);
    assert.deepEqual(await workspace.list('out'), []);
    execFileSync('mount', ['-o', 'remount,size=1m', workspace.file('out')]);
    const again = await sdxl(args, { cwd: workspace.path, env });
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(await pixels(workspace.file('out/x.png')), undisturbed);
  });

  test('for engines and merged weights: told by the cache’s name, and the next run makes them', async (t) => {
    await using workspace = await Workspace.open();
    await using disk = await mounted(t, workspace.file('cache'), '64k');
    if (disk === undefined) return;
    const cache = { SDXL_CACHE_DIR: workspace.file('cache') };
    for (const more of [[], ['--lora', fixture('formats/lora-kohya.safetensors')]]) {
      const args = smallJob(model, ...more, '--output', 'x.png');
      const { code, stderr } = await sdxl(args, { cwd: workspace.path, env: cache });
      assert.equal(code, 3, stderr);
      assert.match(stderr, /^error ENGINE_CACHE_UNWRITABLE: rank 0: cannot write .*cache.*(ENOSPC|no space)/mu);
      assert.deepEqual(await workspace.list(), ['cache']);
    }
    execFileSync('mount', ['-o', 'remount,size=64m', workspace.file('cache')]);
    const again = await sdxl(smallJob(model, '--output', 'x.png'), { cwd: workspace.path, env: cache });
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(await pixels(workspace.file('x.png')), undisturbed);
  });
});

test('weights cut short at forty random places are refused by the file’s name', async () => {
  await using workspace = await Workspace.open();
  await cp(model, workspace.file('model'), { recursive: true });
  const names = ['unet/diffusion_pytorch_model', 'vae/diffusion_pytorch_model', 'text_encoder/model', 'text_encoder_2/model'];
  for (const name of names) {
    const path = workspace.file('model', `${name}.safetensors`);
    const whole = await readFile(path);
    for (let attempt = 0; attempt < 10; attempt++) {
      const size = attempt === 0 ? 0 : Math.floor(Math.random() * whole.length);
      await truncate(path, size);
      await assert.rejects(Model.open(workspace.file('model')), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'WEIGHTS_INVALID', `${name} at ${size}: ${error.message}`);
        assert.ok(error.message.includes(`${name}.safetensors`), error.message);
        return true;
      });
      await writeFile(path, whole);
    }
  }
  const { code, stderr } = await (async () => {
    await truncate(workspace.file('model', 'unet/diffusion_pytorch_model.safetensors'), 100_000);
    return await sdxl(smallJob('model'), { cwd: workspace.path, env });
  })();
  assert.equal(code, 2);
  assert.match(stderr, /^error WEIGHTS_INVALID: .*unet.*the file is damaged or incomplete: fetch it again/mu);
  assert.doesNotMatch(stderr, /pid=/u);
});

test('a cache damaged in every file, at random, is built again and gives the same image', async (t) => {
  await using workspace = await Workspace.open();
  await cp(shared.file('cache'), workspace.file('cache'), { recursive: true });
  const cache = { SDXL_CACHE_DIR: workspace.file('cache') };
  const files = (await readdir(workspace.file('cache'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  assert.ok(files.length >= 12, files.join(', '));
  for (const path of files) {
    const content = await readFile(path);
    const damage = Math.floor(Math.random() * 4);
    const at = Math.floor(Math.random() * content.length);
    if (damage === 0) await rm(path);
    else if (damage === 1) await truncate(path, at);
    else if (damage === 2) await writeFile(path, Buffer.concat([content, Buffer.from('x')]));
    else await writeFile(path, content.fill((content[at] ?? 0) ^ 0xff, at, at + 1));
  }
  const { code, stderr } = await sdxl(smallJob(model, '--output', 'x.png'), { cwd: workspace.path, env: cache });
  assert.equal(code, 0, stderr);
  t.diagnostic(`${[...stderr.matchAll(/a cached engine is damaged and is built again/gu)].length} engines were found damaged`);
  assert.deepEqual(await pixels(workspace.file('x.png')), undisturbed);
});
