/** `sdxl run`, `build` and `bench` with real ranks. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { decode } from 'fast-png';
import { fixture } from '../support/fixtures.js';
import { freePort } from '../support/gang.js';
import { Sdxl, sdxl, smallJob, Workspace, type Finished } from '../support/sdxl.js';

const model = fixture('random-sdxl');
let workspace: Workspace;
let env: Record<string, string>;

before(async () => {
  workspace = await Workspace.open();
  env = { SDXL_CACHE_DIR: workspace.file('cache') };
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

async function pixels(path: string): Promise<ArrayLike<number>> {
  return decode(await readFile(path)).data;
}

/** Of 8-bit images, in dB. */
function psnr8(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let squares = 0;
  for (let index = 0; index < a.length; index++) squares += ((a[index] ?? 0) - (b[index] ?? 0)) ** 2;
  return 10 * Math.log10(255 ** 2 / (squares / a.length));
}

test('build fills the cache, a second build and a run only load', async () => {
  const build = ['build', '--model', model, '--size', '128', '-n', '2'];
  const first = await sdxl(build, { cwd: workspace.path, env });
  assert.equal(first.code, 0, first.stderr);
  assert.equal([...first.stdout.matchAll(/\| built +\|/gu)].length, 4, first.stdout);
  assert.doesNotMatch(first.stderr, /loaded/u);
  const second = await sdxl(build, { cwd: workspace.path, env });
  assert.equal([...second.stdout.matchAll(/\| cached \|/gu)].length, 4, second.stdout);
  const run = await sdxl(smallJob(model, '-n', '2', '--output', 'loaded.png'), { cwd: workspace.path, env });
  assert.equal(run.code, 0, run.stderr);
  assert.match(run.stderr, /engine unet: cached/u);
  assert.doesNotMatch(run.stderr, /built/u);
});

test('a sampler that calls the UNet more often is followed in the steps that were asked for', async () => {
  const sampler = ['--scheduler', 'HeunDiscrete', '--num-inference-steps', '3', '--output', 'heun.png'];
  const args = ['run', '--model', model, '--size', '128', '--prompt', 'flowers, rabbit', ...sampler];
  const { code, stderr } = await sdxl(args, { cwd: workspace.path, env });
  assert.equal(code, 0, stderr);
  const told = [...stderr.matchAll(/step (\d+\/\d+)/gu)].map(([, step]) => step);
  assert.deepEqual(told, ['1/3', '2/3', '2/3', '3/3', '3/3']);
});

test('a run leaves its image and engines, and nothing of the libraries it uses', async () => {
  await using home = await Workspace.open();
  const [temporary, images] = [home.file('tmp'), home.file('images')];
  for (const folder of [temporary, images]) await mkdir(folder);
  const places = { HOME: home.path, TMPDIR: temporary, XDG_CACHE_HOME: home.file('.cache') };
  const { code, stderr } = await sdxl(smallJob(model, '-n', '2', '--output', 'x.png'), { cwd: images, env: places });
  assert.equal(code, 0, stderr);
  assert.deepEqual(await home.list('tmp'), []);
  assert.deepEqual(await home.list('.cache'), ['sdxl-operator']);
  assert.deepEqual(await home.list(), ['.cache', 'images', 'tmp']);
});

test('a timing cache is refused where nothing is timed', async () => {
  const { code, stderr } = await sdxl(['build', '--model', model, '--backend', 'Onnx', '--timing-cache', 'timings.json'], {
    cwd: workspace.path,
    env,
  });
  assert.equal(code, 2, stderr);
  assert.match(stderr, /error USAGE: --timing-cache is for the Cuda backend/u);
});

test('two ranks make the image of one, with progress, latency by stage, PNG and JSON', async () => {
  for (const [ranks, output] of [
    ['1', 'one.png'],
    ['2', 'two.png'],
  ] as const) {
    const { code, stdout, stderr } = await sdxl(smallJob(model, '-n', ranks, '--output', output), { cwd: workspace.path, env });
    assert.equal(code, 0, stderr);
    for (const stage of ['encode', 'denoise', 'decode', 'write', 'total'])
      assert.match(stdout, new RegExp(`\\| ${stage} +\\| +\\d+\\.\\d{3} \\|`, 'u'));
    assert.equal(stdout.trimEnd().split('\n').at(-1), workspace.file(output));
    for (let step = 1; step <= 4; step++) assert.match(stderr, new RegExp(`^image 1/1: step ${String(step)}/4, `, 'mu'));
    const record = JSON.parse(await readFile(workspace.file(output.replace('.png', '.json')), 'utf8')) as Record<string, unknown>;
    assert.equal(record['prompt'], 'flowers, rabbit');
  }
  const similarity = psnr8(await pixels(workspace.file('one.png')), await pixels(workspace.file('two.png')));
  assert(similarity >= 60, `PSNR ${similarity.toFixed(1)} dB`);
});

test('a reader of progress that leaves does not end the run', async () => {
  const run = new Sdxl(smallJob(model, '--output', 'unread.png'), { cwd: workspace.path, env });
  await run.until(/\n/u);
  run.leave('stderr');
  const { code, stdout } = await run.end();
  assert.equal(code, 0);
  assert.match(stdout, /unread\.png/u);
  assert.deepEqual(await pixels(workspace.file('unread.png')), await pixels(workspace.file('one.png')));
});

test('guidance branches on two ranks make the image of one', async () => {
  const args = smallJob(model, '-n', '2', '--cfg-degree', '2', '--output', 'branches.png');
  const { code, stderr } = await sdxl(args, { cwd: workspace.path, env });
  assert.equal(code, 0, stderr);
  const similarity = psnr8(await pixels(workspace.file('one.png')), await pixels(workspace.file('branches.png')));
  assert(similarity >= 60, `PSNR ${similarity.toFixed(1)} dB`);
});

test('a job file with several images is resumed, not repeated', async () => {
  const job = {
    apiVersion: 'sdxl.io/v1alpha1',
    kind: 'SdxlJob',
    metadata: { name: 'three' },
    spec: {
      model: { path: model },
      prompt: 'an owl',
      height: 64,
      width: 64,
      numImages: 3,
      numInferenceSteps: 2,
      output: { path: 'out/owl.png' },
    },
  };
  await writeFile(workspace.file('job.yaml'), JSON.stringify(job));
  const first = await sdxl(['run', '-f', 'job.yaml'], { cwd: workspace.path, env });
  assert.equal(first.code, 0, first.stderr);
  const files = ['owl-0.json', 'owl-0.png', 'owl-1.json', 'owl-1.png', 'owl-2.json', 'owl-2.png'];
  assert.deepEqual(await workspace.list('out'), files);
  const middle = await pixels(workspace.file('out/owl-1.png'));
  await writeFile(workspace.file('out/owl-1.json'), '{}');
  const again = await sdxl(['run', '-f', 'job.yaml', '--resume'], { cwd: workspace.path, env });
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual(
    again.stdout
      .split('\n')
      .filter((line) => line.includes('owl-'))
      .map((line) => line.endsWith('(kept)')),
    [true, false, true],
  );
  assert.deepEqual(await pixels(workspace.file('out/owl-1.png')), middle);
});

test('ranks that others start meet by the environment', async () => {
  await writeFile(workspace.file('token'), 'a-secret-of-enough-length\n');
  const port = String(await freePort());
  const placed = { ...env, WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: port, SDXL_JOB_TOKEN_FILE: workspace.file('token') };
  const args = smallJob(model, '--output', 'apart.png');
  const [zero, one] = await Promise.all([
    sdxl(args, { cwd: workspace.path, env: { ...placed, RANK: '0' } }),
    sdxl(args, { cwd: workspace.path, env: { ...placed, RANK: '1' } }),
  ]);
  assert.equal(zero.code, 0, zero.stderr);
  assert.equal(one.code, 0, one.stderr);
  assert.match(zero.stdout, /apart\.png/u);
  assert.equal(one.stdout, '');
  assert.deepEqual(await pixels(workspace.file('apart.png')), await pixels(workspace.file('two.png')));
});

test('a pod starts its local ranks by NODE_RANK', async () => {
  await writeFile(workspace.file('token'), 'a-secret-of-enough-length\n');
  const placed = { ...env, WORLD_SIZE: '2', LOCAL_WORLD_SIZE: '2', NODE_RANK: '0', SDXL_JOB_TOKEN_FILE: workspace.file('token') };
  const port = String(await freePort());
  const run = new Sdxl(smallJob(model, '--output', 'pod.png'), { cwd: workspace.path, env: { ...placed, MASTER_PORT: port } });
  const { code, stderr } = await run.end();
  assert.equal(code, 0, stderr);
  assert.deepEqual([...run.ranks().keys()], [0, 1]);
});

test('bench prints the columns of the reference, and JSON', async () => {
  const args = ['bench', '--model', model, '--size', '64', '--num-inference-steps', '2', '--num-warmup-runs', '1'];
  const shown = await sdxl([...args, '--avg-runs', '1'], { cwd: workspace.path, env });
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /\| framework +\| resolution \| n \| latency \(s\) \| speed-up \|/u);
  assert.match(shown.stdout, /\| 64x64 +\| 1 \| +\d+\.\d{3} \| +1\.00x \|/u);
  const { code, stdout, stderr } = await sdxl([...args, '-n', '1,2', '--avg-runs', '5', '--ignore-ratio', '0.4', '--json'], {
    cwd: workspace.path,
    env,
  });
  assert.equal(code, 0, stderr);
  const { results } = JSON.parse(stdout) as {
    results: {
      ranks: number;
      seconds: number[];
      latency: { counted: number; trimmedMeanSeconds: number };
      step: { exchangesPerStep: number; sentBytesPerStep: number };
    }[];
  };
  assert.deepEqual(
    results.map(({ ranks, seconds, latency }) => [ranks, seconds.length, latency.counted]),
    [
      [1, 5, 3],
      [2, 5, 3],
    ],
  );
  const [one, two] = results;
  assert.equal(one?.step.exchangesPerStep, 0);
  assert(two !== undefined && two.step.exchangesPerStep > 0 && two.step.sentBytesPerStep > 0);
});

test('a displaced mode makes an image of its own, from the same engines, which another mode does not take for its own', async () => {
  const displaced = (mode: string, ...more: string[]): Promise<Finished> =>
    sdxl(smallJob(model, '-n', '2', '--output', 'stale.png', '--warmup-steps', '1', '--mode', mode, ...more), { cwd: workspace.path, env });
  const first = await displaced('StaleGn');
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stderr, /engine unet: cached/u);
  const image = await pixels(workspace.file('stale.png'));
  assert.notDeepEqual(image, await pixels(workspace.file('one.png')));
  const record = JSON.parse(await readFile(workspace.file('stale.json'), 'utf8')) as Record<string, unknown>;
  assert.deepEqual(record['patches'], { mode: 'StaleGn', warmupSteps: 1, patchDegree: 2 });
  assert.match((await displaced('StaleGn', '--resume')).stdout, /stale\.png \(kept\)/u);
  const other = await displaced('NoSync', '--resume');
  assert.doesNotMatch(other.stdout, /kept/u);
  assert.notDeepEqual(await pixels(workspace.file('stale.png')), image);
});

test('a damaged engine is told of and built again', async () => {
  const engines = workspace.file('cache', 'engines');
  const [key] = await readdir(engines);
  assert(key !== undefined);
  for (const engine of await readdir(engines)) {
    const path = join(engines, engine, 'segment-000.onnx');
    const content = await readFile(path);
    content.writeUInt8(content.readUInt8(content.length - 1) ^ 1, content.length - 1);
    await writeFile(path, content);
  }
  const repaired = await sdxl(smallJob(model, '--output', 'repaired.png'), { cwd: workspace.path, env });
  assert.equal(repaired.code, 0, repaired.stderr);
  assert.match(repaired.stderr, /warn {2}a cached engine is damaged and is built again: .*segment-000\.onnx does not match its digest/u);
  assert.deepEqual(await pixels(workspace.file('repaired.png')), await pixels(workspace.file('one.png')));
  const again = await sdxl(smallJob(model, '--output', 'repaired.png'), { cwd: workspace.path, env });
  assert.doesNotMatch(again.stderr, /damaged|built/u);
});
