/** How values cross into native code and back, against a small library compiled here. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { KernelArguments } from '../../../../runtime/backends/cuda/libraries/index.js';
import { checked, NativeLibrary } from '../../../../runtime/backends/cuda/libraries/native-library.js';
import { NativeMemory } from '../../../../runtime/backends/cuda/libraries/native-memory.js';
import { packageFile } from '../../../../runtime/package-root.js';

const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0);
const skip = compiler === undefined ? 'no C compiler on this machine' : false;
const folder = mkdtempSync(join(tmpdir(), 'sdxl-native-'));
after(() => rmSync(folder, { recursive: true }));

const signatures = {
  takeStructure: ['void *', 'int', 'Bytes128', 'int'],
  writeOutputs: ['void *', 'void *', 'void *', 'void *'],
  launch: ['uint64_t', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint64_t', 'void *', 'void *'],
  totalLength: ['const char **', 'int'],
  keep: ['uint64_t'],
  addToKept: ['int'],
} as const;

function load(): NativeLibrary {
  const path = join(folder, 'library.so');
  execFileSync(compiler ?? '', ['-shared', '-fPIC', '-o', path, packageFile('test/unit/backends/cuda/native-library.c')]);
  return NativeLibrary.load(path);
}

describe('native calls', { skip }, () => {
  const library = skip === false ? load() : undefined;
  const open = (): NativeLibrary => {
    assert.ok(library !== undefined);
    return library;
  };

  test('structures pass by value', () => {
    const sum = new BigUint64Array(1);
    const bytes = Uint8Array.from({ length: 128 }, (_, index) => (index * 7) % 256);
    assert.equal(open().bind(signatures).takeStructure(sum, 2, { bytes }, 1), 201);
    assert.equal(
      Number(sum[0]),
      bytes.reduce((total, byte, index) => total + byte * (index + 1), 0),
    );
  });

  test('outputs land in views, 64 bits whole', () => {
    const [number, pointer, size, value] = [new Int32Array(1), new BigUint64Array(2), new BigUint64Array(1), new Float32Array(1)];
    open().bind(signatures).writeOutputs(number, pointer.subarray(1), size, value);
    assert.deepEqual([number[0], pointer[0], pointer[1], size[0], value[0]], [-5, 0n, 0xf000000000001234n, 77n, 1.5]);
  });

  test('kernel arguments lie where a launch reads them, before and after a change', () => {
    const { launch } = open().bind(signatures);
    using parameters = new KernelArguments([
      { pointer: 0xf000000000001234n },
      { i32: 0 },
      { f32: 0.5 },
      { i64: -(2n ** 40n) },
      { bytes: Buffer.from('structure passed by value, longer than sixteen bytes') },
    ]);
    const call = (): number => launch(7n, 1, 2, 3, 4, 5, 6, 7, 9n, parameters.address, null);
    assert.equal(call(), 3);
    parameters.set(1, { i32: -3 });
    assert.equal(call(), 0);
    assert.throws(() => parameters.set(1, { f32: 1 }), /argument 1 is not of kind f32/u);
    assert.throws(() => parameters.set(9, { i32: 1 }), /argument 9/u);
  });

  test('texts cross both ways', () => {
    assert.equal(open().bind(signatures).totalLength(['ab', 'cdé'], 2), 6);
    const greeting = open().declare('greeting', 'str', ['int']);
    assert.equal(greeting(0), 'héllo');
    assert.equal(greeting(1), null);
    assert.equal(Number(open().declare('version', 'size_t', [])()), 91_900);
  });

  test('native memory stays where native code was told it is', () => {
    const { keep, addToKept } = open().bind(signatures);
    using memory = new NativeMemory(16);
    assert.deepEqual(
      [...memory.bytes],
      Array.from({ length: 16 }, () => 0),
    );
    keep(memory.address);
    memory.view.setInt32(0, 40, true);
    assert.equal(addToKept(2), 42);
    assert.equal(memory.view.getInt32(0, true), 42);
    using words = NativeMemory.ofWords([1n, -1]);
    assert.equal(words.view.getBigInt64(8, true), -1n);
  });

  test('a call on another thread resolves', async () => {
    const totalLength = open().declareAsync('totalLength', ['const char **', 'int']);
    assert.equal(await totalLength(['one', 'three'], 2), 8);
  });

  test('every status is checked', () => {
    const seen: (string | number)[] = [];
    const call = checked(open().bind(signatures), (name, status) => seen.push(name, status));
    call.totalLength(['abc'], 1);
    assert.deepEqual(seen, ['totalLength', 3]);
  });

  test('a function that is not there is CUDA_UNAVAILABLE and named', () => {
    assert.throws(() => open().declare('cuNothing', 'int', []), { code: 'CUDA_UNAVAILABLE', message: /no function cuNothing/u });
  });
});
