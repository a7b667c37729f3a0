/** The archive for machines without a registry: what is in it, and that it runs with nothing else around. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { packageFile, packageVersion } from '../../../runtime/package-root.js';

const run = promisify(execFile);
const hasTools = ['tar', 'xz'].every((tool) => spawnSync(tool, ['--version']).status === 0);
const skip = process.platform !== 'linux' || process.arch !== 'x64' ? 'made on linux/x64 only' : hasTools ? false : 'needs tar and xz';

describe('the bundle', { skip }, () => {
  const name = `sdxl-operator-${packageVersion}-linux-x64`;
  let folder = '';
  let archive = '';
  let paths: readonly string[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sdxl-bundle-test-'));
    archive = join(folder, `${name}.tar.xz`);
    const script = packageFile('dist/scripts/bundle/main.js');
    await run(process.execPath, [script, '--output', folder, '--without', 'onnx', '--without', 'models', '--compression', '0']);
    const { stdout } = await run('tar', ['-tJf', archive], { maxBuffer: 1 << 24 });
    paths = stdout.split('\n').map((path) => path.slice(name.length + 1));
    await run('tar', ['-xJf', archive, '-C', folder]);
  });
  after(async () => rm(folder, { recursive: true, force: true }));

  test('holds what runs, and only that', () => {
    for (const path of [
      'bin/node',
      'bin/sdxl',
      'package.json',
      'LICENSE',
      'dist/runtime/launch/rank-main.js',
      'crds/sdxl.io_sdxljobs.yaml',
      'runtime/collectives/grpc/communicator.proto',
      'node_modules/@aws-sdk/client-s3/dist-cjs/index.js',
      'node_modules/koffi/package.json',
      'node_modules/koffi/LICENSE.txt',
      'node_modules/yaml/dist/doc/directives.js',
    ]) {
      assert.ok(paths.includes(path), `${path} is not in the bundle`);
    }
    assert.ok(paths.some((path) => path.startsWith('node_modules/@koromix/koffi-linux-x64/') && path.endsWith('.node')));
    const foreign =
      /^(?:models|test|dist\/(?:test|bench|scripts|operator))\/|node_modules\/(?:onnxruntime|@kubernetes|typescript|eslint|prettier|@types)|\.d\.ts$|\.map$/u;
    assert.deepEqual(
      paths.filter((path) => foreign.test(path)),
      [],
    );
  });

  test('is small', async () => {
    // The least compression gives about half as much again as the most, which must stay below 36 MiB.
    const { size } = await stat(archive);
    assert.ok(size < 45 * 2 ** 20, `${(size / 2 ** 20).toFixed(1)} MiB`);
  });

  test('its checksum is its own', async () => {
    await run('sha256sum', ['-c', `${name}.tar.xz.sha256`], { cwd: folder });
    assert.match(await readFile(`${archive}.sha256`, 'utf8'), /^[0-9a-f]{64} {2}sdxl-operator-\S+\.tar\.xz\n$/u);
  });

  test('runs with an empty environment, and says what it was made without', async () => {
    const sdxl = join(folder, name, 'bin/sdxl');
    const { stdout } = await run(sdxl, ['--version'], { env: {}, cwd: '/' });
    assert.equal(stdout.trim(), packageVersion);
    const args = [
      'run',
      '--backend',
      'Onnx',
      '--model',
      packageFile('models/tiny-sdxl'),
      '--prompt',
      'a cat',
      '--output',
      join(folder, 'x.png'),
    ];
    const failed = spawnSync(sdxl, args, { env: { HOME: folder, PATH: '/usr/bin:/bin' }, cwd: folder, encoding: 'utf8' });
    assert.equal(failed.status, 3, failed.stderr);
    assert.match(failed.stderr, /BACKEND_UNAVAILABLE.*onnxruntime-node/su);
  });
});
