/** What `npm pack` would ship: everything that the compiled code reads, and nothing else. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';

interface PackedFile {
  readonly path: string;
  readonly size: number;
}

const packed = await packedFiles();
const paths = new Set(packed.map(({ path }) => path));

test('the package holds what its code reads', async () => {
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as { bin: Record<string, string> };
  for (const path of [
    ...Object.values(manifest.bin),
    'package.json',
    'README.md',
    'LICENSE',
    'crds/sdxl.io_sdxljobs.yaml',
    'manifests/samples/sdxljob.yaml',
    'runtime/backends/onnx/onnx.proto',
    'runtime/collectives/grpc/communicator.proto',
    'models/tiny-sdxl/model_index.json',
    ...(await readdir('runtime/backends/cuda/kernels')).map((name) => `runtime/backends/cuda/kernels/${name}`),
  ]) {
    assert.ok(paths.has(path), `${path} is not in the package`);
  }
});

test('the package holds no sources, tests, maps or build state', () => {
  const foreign = packed.filter(({ path }) => /\.(?:ts|map|tsbuildinfo|py)$|^(?:dist\/)?(?:test|bench|scripts)\//u.test(path));
  assert.deepEqual(foreign, []);
});

test('the package is small', () => {
  const bytes = packed.reduce((sum, { size }) => sum + size, 0);
  assert.ok(bytes < 64 * 1024 * 1024, `${(bytes / 1024 / 1024).toFixed(1)} MiB unpacked`);
});

async function packedFiles(): Promise<readonly PackedFile[]> {
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { maxBuffer: 1 << 26 });
  const [pack] = JSON.parse(stdout) as readonly { readonly files: readonly PackedFile[] }[];
  return pack?.files ?? [];
}
