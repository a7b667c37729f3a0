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
import { LibrarySearch, Nvrtc } from '../../runtime/backends/cuda/libraries/index.js';
import { NativeLibrary } from '../../runtime/backends/cuda/libraries/native-library.js';
import { assemble, copies, readStages, type Instruction, type Stage } from '../support/containerfile.js';

const execute = promisify(execFile);
const files = (await readdir('containers')).filter((name) => name.endsWith('.Containerfile'));
const tracked = (await execute('git', ['ls-files'])).stdout.split('\n');
const ignored = (await readFile('.containerignore', 'utf8')).split('\n');

test('there is a recipe for the operator, and for ranks on the processor and on GPUs', () => {
  assert.deepEqual(files.sort(), ['operator.Containerfile', 'runtime-cpu.Containerfile', 'runtime-cuda.Containerfile']);
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

test('ranks on GPUs get what ranks on the processor get, and the CUDA kernels and libraries', async () => {
  const [cpu, cuda] = await Promise.all(
    ['runtime-cpu', 'runtime-cuda'].map((name) => readStages(join('containers', `${name}.Containerfile`))),
  );
  const text = (instructions: readonly Instruction[] = []): readonly string[] =>
    instructions.filter(({ name }) => name !== 'LABEL' && name !== 'ENV').map((each) => `${each.name} ${each.arguments}`);
  for (const stage of ['build', 'dependencies']) {
    const [one, other] = [cpu, cuda].map((stages) => text(stages?.find(({ name }) => name === stage)?.instructions));
    assert.deepEqual(one, other);
  }
  const own =
    /^(?:COPY --from=libraries .*|WORKDIR \/opt\/nvidia|COPY runtime\/backends\/cuda\/kernels runtime\/backends\/cuda\/kernels)$/u;
  const more = text(cuda?.at(-1)?.instructions);
  assert.deepEqual(
    more.filter((line) => !own.test(line)),
    text(cpu?.at(-1)?.instructions),
  );
  assert.equal(more.filter((line) => own.test(line)).length, 9);
  // Nothing else says where a user without a home may write.
  for (const stages of [cpu, cuda])
    assert.ok(stages?.at(-1)?.instructions.some((each) => / XDG_CACHE_HOME=\/tmp\b/u.test(` ${each.arguments}`)));
});

const wheels = process.env['SDXL_TEST_CUDA_WHEELS'] === '1' ? false : 'downloads 1.1 GB: set SDXL_TEST_CUDA_WHEELS=1';

test('the CUDA libraries of the image are all that is loaded, and compile every kernel', { skip: wheels, timeout: 600_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'image-'));
  try {
    const stages = await readStages('containers/runtime-cuda.Containerfile');
    const last = stages.at(-1) as Stage;
    const instructions = last.instructions.filter(
      ({ name, arguments: text }) => name === 'WORKDIR' || (name === 'COPY' && text.startsWith('--from=libraries ')),
    );
    const root = join(folder, 'root');
    await assemble(stages, { ...last, instructions }, root);
    const search = new LibrarySearch({ libraryPath: join(root, 'opt/nvidia') });
    const nvrtc = await Nvrtc.open(search);
    const kernels = 'runtime/backends/cuda/kernels';
    const sources = await readdir(kernels);
    const headers = { 'element.cuh': await readFile(join(kernels, 'element.cuh'), 'utf8') };
    for (const name of sources.filter((each) => each.endsWith('.cu'))) {
      const source = await readFile(join(kernels, name), 'utf8');
      for (const architecture of ['sm_80', 'sm_90a']) await nvrtc.compile({ name, source, architecture, headers });
    }
    for (const name of ['cublasLt', 'cudnn', 'nccl'] as const) {
      assert.ok((await search.load(name)).path.startsWith(root), `${name} is not the image's`);
    }
    // The driver's library, which engines compiled at run time need, is mounted where there is a GPU.
    for (const name of await readdir(join(root, 'opt/nvidia/cudnn/lib'))) {
      if (!name.startsWith('libcudnn_engines_runtime_compiled')) NativeLibrary.load(join(root, 'opt/nvidia/cudnn/lib', name));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

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
