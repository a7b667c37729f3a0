/** Jobs whose images are made several at a time, with real ranks: the same pixels, one writer each, one culprit. */
import assert from 'node:assert/strict';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { decode } from 'fast-png';
import { fixture } from '../support/fixtures.js';
import { freePort } from '../support/gang.js';
import { eventually, Sdxl, sdxl, smallJob, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
let workspace: Workspace;
let env: Record<string, string>;

before(async () => {
  workspace = await Workspace.open();
  env = { SDXL_CACHE_DIR: workspace.file('cache') };
  const { code, stderr } = await sdxl(several('alone', 5), { cwd: workspace.path, env });
  assert.equal(code, 0, stderr);
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

const several = (folder: string, images: number, ...more: string[]): string[] =>
  smallJob(model, '--size', '64', '--num-images', String(images), '--output', `${folder}/x.png`, ...more);

async function pixelsOf(folder: string, images: number): Promise<ArrayLike<number>[]> {
  const paths = Array.from({ length: images }, (_, image) => workspace.file(folder, `x-${String(image)}.png`));
  return await Promise.all(paths.map(async (path) => decode(await readFile(path)).data));
}

test('two ranks, each with images of its own, make those of one rank', async () => {
  const run = await sdxl(several('two', 5, '-n', '2', '--data-degree', '2'), { cwd: workspace.path, env });
  assert.equal(run.code, 0, run.stderr);
  assert.deepEqual(await workspace.list('two'), await workspace.list('alone'));
  assert.deepEqual(await pixelsOf('two', 5), await pixelsOf('alone', 5));
  // All are told of, in order, whoever made them.
  assert.deepEqual(
    [...run.stdout.matchAll(/x-(\d+)\.png$/gmu)].map(([, image]) => Number(image)),
    [0, 1, 2, 3, 4],
  );
});

const meshes: readonly (readonly [what: string, mesh: readonly string[]])[] = [
  ['branches', ['--cfg-degree', '2']],
  ['stripes', ['--patch-degree', '2']],
];
for (const [what, mesh] of meshes) {
  test(`two replicas of two ${what} make the images of two ${what}`, async () => {
    const one = await sdxl(several(what, 3, ...mesh), { cwd: workspace.path, env });
    assert.equal(one.code, 0, one.stderr);
    const two = await sdxl(several(`${what}-twice`, 3, '--data-degree', '2', ...mesh), { cwd: workspace.path, env });
    assert.equal(two.code, 0, two.stderr);
    assert.equal(new Set([...two.stderr.matchAll(/ started .*rank=(\d+)/gu)].map(([, rank]) => rank)).size, 4);
    assert.deepEqual(await pixelsOf(`${what}-twice`, 3), await pixelsOf(what, 3));
  });
}

test('a mesh that is chosen is the one that is explained: replicas for two images, branches for one', async () => {
  for (const [images, mesh, path] of [
    [2, 'data=2,cfg=1,patch=1', 'chosen/x-0.json'],
    [1, 'cfg=2,patch=1', 'chosen/x.json'],
  ] as const) {
    const { code, stderr } = await sdxl(several('chosen', images, '-n', '2', '--mesh', 'Auto'), { cwd: workspace.path, env });
    assert.equal(code, 0, stderr);
    const record = JSON.parse(await readFile(workspace.file(path), 'utf8')) as { details: { mesh: string } };
    assert.equal(record.details.mesh, mesh);
  }
});

test('status and metrics of rank 0 count the images of every replica', async () => {
  const args = several('watched', 6, '-n', '2', '--data-degree', '2', '--num-inference-steps', '60', '--metrics-port', '0');
  const run = new Sdxl(args, { cwd: workspace.path, env });
  const [, port = ''] = await run.until(/serving .* on 127\.0\.0\.1:(\d+)/u);
  const url = `http://127.0.0.1:${port}`;
  const seen = await eventually('images of both ranks', async () => {
    const status = (await (await fetch(`${url}/status`)).json()) as {
      imagesDone: number;
      progressRatio: number;
      ranks: { image: number }[];
    };
    return status.imagesDone >= 2 && status.imagesDone < 6 ? status : undefined;
  });
  assert(seen.progressRatio >= seen.imagesDone / 6 && seen.progressRatio <= 1, JSON.stringify(seen));
  assert.equal(new Set(seen.ranks.map(({ image }) => image)).size, 2);
  const counted = await eventually('six images in the metrics', async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return /^sdxl_images_total\{result="written",job="[^"]+",rank="0"\} ([3-6])$/mu.exec(text)?.[1];
  });
  assert(Number(counted) >= 3);
  const { code, stderr } = await run.end();
  assert.equal(code, 0, stderr);
});

test('a rank killed in one replica ends the gang, is named, and the images that were complete are kept', async () => {
  const args = several('killed', 4, '-n', '2', '--data-degree', '2', '--num-inference-steps', '60');
  const run = new Sdxl(args, { cwd: workspace.path, env });
  await run.until(/image \d\/4: .*x-\d\.png, /u);
  process.kill(run.rank(1), 'SIGKILL');
  const { code, stderr } = await run.end(20_000);
  assert.equal(code, 75);
  assert.match(stderr, /^error RANK_EXITED: rank 1: the process was ended by SIGKILL, not by its launcher/mu);
  const left = await workspace.list('killed');
  assert(
    left.every((name) => /^x-\d\.(png|json)$/u.test(name)),
    left.join(),
  );
  const again = await sdxl([...args, '--resume'], { cwd: workspace.path, env });
  assert.equal(again.code, 0, again.stderr);
  const kept = again.stdout.split('\n').filter((line) => line.endsWith('(kept)')).length;
  assert(kept >= 1 && kept < 4, again.stdout);
  const alone = await sdxl(several('never-killed', 4, '--num-inference-steps', '60'), { cwd: workspace.path, env });
  assert.equal(alone.code, 0, alone.stderr);
  assert.deepEqual(await pixelsOf('killed', 4), await pixelsOf('never-killed', 4));
});

test('replicas on machines of their own take what is left, and rank 0 tells of all of it', async () => {
  await writeFile(workspace.file('token'), 'a-secret-of-enough-length\n');
  await cp(workspace.file('alone'), workspace.file('apart'), { recursive: true });
  for (const image of [0, 2, 4]) await rm(workspace.file('apart', `x-${String(image)}.json`));
  const placed = {
    ...env,
    WORLD_SIZE: '2',
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: String(await freePort()),
    SDXL_JOB_TOKEN_FILE: workspace.file('token'),
  };
  const args = several('apart', 5, '--data-degree', '2');
  const [zero, one] = await Promise.all(['0', '1'].map((rank) => sdxl(args, { cwd: workspace.path, env: { ...placed, RANK: rank } })));
  assert(zero !== undefined && one !== undefined);
  assert.equal(zero.code, 0, zero.stderr);
  assert.equal(one.code, 0, one.stderr);
  assert.deepEqual(
    zero.stdout
      .split('\n')
      .filter((line) => line.includes('x-'))
      .map((line) => line.endsWith('(kept)')),
    [false, true, false, true, false],
  );
  assert.deepEqual(await pixelsOf('apart', 5), await pixelsOf('alone', 5));
});

test('degrees that do not make the number of ranks are refused with all three', async () => {
  const { code, stderr } = await sdxl(several('refused', 4, '-n', '4', '--data-degree', '3'), { cwd: workspace.path, env });
  assert.equal(code, 2);
  assert.match(stderr, /error MESH_INVALID: --data-degree 3 × --cfg-degree 1 × --patch-degree 1 = 3 ranks, but -n is 4/u);
});
