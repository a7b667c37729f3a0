/**
 * The images' recipes. There is no builder on every machine, so nothing is built: the recipes are read, and what their last stage holds is put together from
 * this checkout and started.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { assemble, copies, readStages, type Stage } from '../support/containerfile.js';

const execute = promisify(execFile);
const files = (await readdir('containers')).filter((name) => name.endsWith('.Containerfile'));
const tracked = (await execute('git', ['ls-files'])).stdout.split('\n');
const ignored = (await readFile('.containerignore', 'utf8')).split('\n');

test('there is a recipe for the operator and for ranks on the processor', () => {
  assert.deepEqual(files.sort(), ['operator.Containerfile', 'runtime-cpu.Containerfile']);
});

for (const file of files) {
  suite(file, async () => {
    const stages = await readStages(join('containers', file));
    const last = stages.at(-1);
    assert.ok(last !== undefined);

    test('starts from images with a version, and ships none of the stages that build', () => {
      assert.ok(stages.length > 1);
      for (const { base } of stages) assert.match(base, /^docker\.io\/[a-z/]+:\d+\.\d+\.\d+-[-a-z0-9.]+$/u);
    });

    test('copies what is there and what the builder is sent', async () => {
      for (const { from, sources } of stages.flatMap((stage) => copies(stage))) {
        for (const source of sources) {
          if (from === 'build') await stat(source.replace('/src/', ''));
          if (from !== '') continue;
          assert.ok(
            tracked.some((path) => path === source || path.startsWith(`${source}/`)),
            `${source} is not in the repository`,
          );
          assert.ok(
            ignored.some((line) => line.startsWith('!') && (source === line.slice(1) || source.startsWith(`${line.slice(1)}/`))),
            `${source} is ignored`,
          );
        }
      }
    });

    test('runs as a user that is a number and not root', () => {
      const users = last.instructions.filter(({ name }) => name === 'USER').map((instruction) => instruction.arguments);
      assert.deepEqual(users, ['10001:10001']);
    });

    test('holds no secret and takes none', () => {
      for (const { instructions } of stages) {
        for (const { name, arguments: text } of instructions) {
          assert.doesNotMatch(text, /token|password|secret|credential|\/root|\.ssh|_auth/iu);
          assert.ok(
            ['ADD', 'ARG'].every((other) => other !== name),
            `${name} ${text}`,
          );
        }
      }
    });
  });
}

const starts: Readonly<Record<string, (root: string) => Promise<void>>> = {
  'runtime-cpu.Containerfile': drawsAnImage,
  'operator.Containerfile': rendersAJob,
};

for (const [file, check] of Object.entries(starts)) {
  test(`what ${file} puts together starts`, { timeout: 300_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'image-'));
    try {
      const stages = await readStages(join('containers', file));
      const root = join(folder, 'root');
      await assemble(stages, stages.at(-1) as Stage, root);
      await check(root);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

async function sdxl(root: string, args: readonly string[]): Promise<string> {
  const options = {
    cwd: join(root, 'app'),
    timeout: 120_000,
    env: { ...process.env, NODE_ENV: 'production', SDXL_CACHE_DIR: join(root, 'cache') },
  };
  const { stdout } = await execute(join(root, 'usr/local/bin/sdxl'), args, options);
  return stdout;
}

async function rendersAJob(root: string): Promise<void> {
  const program = join(root, 'app/dist/operator/main.js');
  const job = resolve('manifests/samples/sdxljob.yaml');
  const { stdout } = await execute(process.execPath, [program, 'render', '-f', job], { cwd: join(root, 'app'), timeout: 60_000 });
  assert.match(stdout, /^kind: Job$/mu);
}

async function drawsAnImage(root: string): Promise<void> {
  const output = join(root, 'output.png');
  const job = ['--model', 'models/tiny-sdxl', '--size', '64', '--num-inference-steps', '1', '--prompt', 'flowers', '--output', output];
  await sdxl(root, ['run', '-n', '2', ...job]);
  assert.ok((await stat(output)).size > 0);
}
