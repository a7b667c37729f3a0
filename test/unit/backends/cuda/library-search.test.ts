/** Where libraries are looked for, over folders made here. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Driver, LibrarySearch, type LibrarySearchOptions } from '../../../../runtime/backends/cuda/libraries/index.js';
import { SdxlError } from '../../../../runtime/errors/index.js';

/** A machine with these (empty) files; a search on it, whose results are told from its root. */
async function machine(
  files: readonly string[],
  options: (root: string) => LibrarySearchOptions = () => ({}),
): Promise<{ search: LibrarySearch; root: string; relative: (paths: readonly { readonly path: string }[]) => string[] } & AsyncDisposable> {
  const root = await mkdtemp(join(tmpdir(), 'sdxl-search-'));
  for (const file of files) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), '');
  }
  const search = new LibrarySearch({ root, ...options(root) });
  return {
    search,
    root,
    relative: (paths) => paths.map(({ path }) => path.replace(`${root}/`, '')),
    [Symbol.asyncDispose]: async () => rm(root, { recursive: true }),
  };
}

test('CUDA images: the newest toolkit first, then the loader', async () => {
  await using on = await machine([
    'usr/local/cuda-12.9/lib64/libnvrtc.so.12',
    'usr/local/cuda-13.0/lib64/libnvrtc.so.13',
    'usr/local/cuda-13.0/lib64/libnvrtc.so.13.0.88',
    'usr/local/cuda-13.0/lib64/libnvrtc-builtins.so.13.0',
    'usr/local/cuda-13.0/lib64/libnvrtc.alt.so.13',
    'usr/local/cudnn/lib64/libnvrtc.so.13',
  ]);
  assert.deepEqual(on.relative(await on.search.candidates('nvrtc')), [
    'usr/local/cuda-13.0/lib64/libnvrtc.so.13',
    'usr/local/cuda-12.9/lib64/libnvrtc.so.12',
    'libnvrtc.so.13',
    'libnvrtc.so.12',
  ]);
});

test('a driver of CUDA 12 leaves version 13 out, of toolkits and not of cuDNN', async () => {
  await using on = await machine([
    'usr/local/cuda/lib64/libcublasLt.so.13',
    'usr/local/cuda/lib64/libcublasLt.so.12.9.1',
    'usr/local/cuda/lib64/libcudnn.so.9',
  ]);
  assert.deepEqual(on.relative(await on.search.candidates('cublasLt', 12)), [
    'usr/local/cuda/lib64/libcublasLt.so.12.9.1',
    'libcublasLt.so.12',
  ]);
  assert.deepEqual(on.relative(await on.search.candidates('cudnn', 12)), ['usr/local/cuda/lib64/libcudnn.so.9', 'libcudnn.so.9']);
});

test('NVIDIA’s wheels are found after the loader’s own libraries', async () => {
  const packages = 'usr/local/lib/python3.12/dist-packages/nvidia';
  await using on = await machine(
    [
      `${packages}/cu13/lib/libcublasLt.so.13`,
      `${packages}/cudnn/lib/libcudnn.so.9`,
      'home/.local/lib/python3.11/site-packages/nvidia/nccl/lib/libnccl.so.2',
    ],
    (root) => ({ home: join(root, 'home') }),
  );
  assert.deepEqual(on.relative(await on.search.candidates('cublasLt')), [
    'libcublasLt.so.13',
    'libcublasLt.so.12',
    `${packages}/cu13/lib/libcublasLt.so.13`,
  ]);
  assert.deepEqual(on.relative(await on.search.candidates('cudnn')).at(-1), `${packages}/cudnn/lib/libcudnn.so.9`);
  assert.deepEqual(
    on.relative(await on.search.candidates('nccl')).at(-1),
    'home/.local/lib/python3.11/site-packages/nvidia/nccl/lib/libnccl.so.2',
  );
});

test('named folders come before all others, and stand for what they hold', async () => {
  await using on = await machine(
    ['usr/local/cuda/lib64/libnccl.so.2', 'mine/libnccl.so.2.28.9', 'other/lib/libnccl.so.2', 'wheels/nccl/lib/libnccl.so.2'],
    (root) => ({ libraryPath: ['mine', 'other', 'nowhere', 'wheels'].map((name) => join(root, name)).join(':') }),
  );
  assert.deepEqual(on.relative(await on.search.candidates('nccl')), [
    'mine/libnccl.so.2.28.9',
    'other/lib/libnccl.so.2',
    'wheels/nccl/lib/libnccl.so.2',
    'usr/local/cuda/lib64/libnccl.so.2',
    'libnccl.so.2',
  ]);
});

test('headers lie beside libraries', async () => {
  await using on = await machine([
    'usr/local/cuda/lib64/libnvrtc.so.13',
    'usr/local/cuda/include/cuda_fp16.h',
    'usr/local/cuda-12/include/cuda.h',
  ]);
  assert.deepEqual(await on.search.includeFolders(), [join(on.root, 'usr/local/cuda/include')]);
});

test('a library that is nowhere, or no library, is CUDA_UNAVAILABLE: what was looked for, where, and how to change it', async () => {
  await using on = await machine(['mine/libcudnn.so.9'], (root) => ({ libraryPath: join(root, 'mine') }));
  await assert.rejects(on.search.load('cudnn'), (error: unknown) => {
    assert.ok(error instanceof SdxlError);
    assert.equal(error.code, 'CUDA_UNAVAILABLE');
    assert.equal(error.exitCode, 3);
    for (const text of ['libcudnn.so.9', join(on.root, 'mine'), 'file too short', 'the loader’s own path', 'SDXL_CUDA_LIBRARY_PATH']) {
      assert.ok(error.message.includes(text), `${text} is not in: ${error.message}`);
    }
    return true;
  });
});

test('without a driver the message tells to install it', { skip: await hasDriver() }, async () => {
  await assert.rejects(Driver.open(new LibrarySearch({ root: '/nowhere' })), {
    code: 'CUDA_UNAVAILABLE',
    message: /install the NVIDIA driver, .*or compute on the processor: backend Onnx \(spec\.backend, --backend\)$/u,
  });
});

async function hasDriver(): Promise<string | false> {
  return new LibrarySearch({ root: '/nowhere' }).load('cuda').then(
    () => 'this machine has a driver',
    () => false,
  );
}
