import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { SdxlError, type ErrorCode } from '../../../runtime/errors/index.js';
import {
  combineDigests,
  fileDigest,
  tensorDType,
  WeightsDirectory,
  writeSafetensors,
  type TensorToWrite,
} from '../../../runtime/weights/index.js';

const folder = await realpath(await mkdtemp(join(tmpdir(), 'weights-')));
after(() => rm(folder, { recursive: true }));
let count = 0;
async function newFolder(): Promise<string> {
  const path = join(folder, String(count++));
  await mkdir(path);
  return path;
}

function value(name: string, content = 1, shape: readonly number[] = [1]): TensorToWrite {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(content);
  return { name, dtype: 'F32', shape, data: new Uint8Array(data.buffer) };
}

const stem = 'diffusion_pytorch_model';
const single = `${stem}.safetensors`;
const index = `${single}.index.json`;
const writeIndex = (path: string, weightMap: unknown): Promise<void> =>
  writeFile(join(path, index), JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap }));

async function sharded(weightMap: unknown, shards: Record<string, TensorToWrite[]>): Promise<string> {
  const path = await newFolder();
  for (const [name, tensors] of Object.entries(shards)) await writeSafetensors(join(path, name), tensors);
  await writeIndex(path, weightMap);
  return path;
}

test('a single file', async () => {
  const path = await newFolder();
  await writeSafetensors(join(path, single), [value('a', 2, [2, 3]), value('b')]);
  await using weights = await WeightsDirectory.open(path, { stem });
  assert.deepEqual([...weights.names()], ['a', 'b']);
  assert.deepEqual([weights.has('a'), weights.has('c'), weights.totalBytes()], [true, false, 28]);
  const entry = weights.require('a', [2, 3]);
  assert.equal(entry.file, join(path, single));
  assert.equal(entry.sizeBytes, 24);
  assert.equal(tensorDType(entry), 'f32');
  const bytes = new Uint8Array(4);
  await weights.read('a', bytes, 20);
  assert.deepEqual(bytes, new Uint8Array(Float32Array.of(2).buffer));
  assert.deepEqual((await weights.readFloat32('b')).data, Float32Array.of(1));
});

test('shards: each tensor from its own file, through links as in the Hugging Face cache', async () => {
  const blobs = await newFolder();
  await writeSafetensors(join(blobs, 'blob1'), [value('a', 1)]);
  await writeSafetensors(join(blobs, 'blob2'), [value('b', 2)]);
  const path = await newFolder();
  await symlink(join(blobs, 'blob1'), join(path, 'x-1.safetensors'));
  await symlink(join(blobs, 'blob2'), join(path, 'x-2.safetensors'));
  await writeIndex(path, { a: 'x-1.safetensors', b: 'x-2.safetensors' });
  await using weights = await WeightsDirectory.open(path, { stem });
  assert.deepEqual((await weights.readFloat32('b')).data, Float32Array.of(2));
  const entry = weights.require('b', [1]);
  assert.deepEqual([entry.file, entry.realPath], [join(path, 'x-2.safetensors'), join(blobs, 'blob2')]);
});

test('require names file, tensor, expected and found', async () => {
  const path = await newFolder();
  const half: TensorToWrite = { name: 'ids', dtype: 'I64', shape: [1], data: new Uint8Array(8) };
  await writeSafetensors(join(path, single), [value('a', 1, [2, 3]), half]);
  await using weights = await WeightsDirectory.open(path, { stem });
  const rows: [string, number[], string, string][] = [
    ['a', [3, 2], 'shape [3, 2]', 'shape [2, 3]'],
    ['a', [2], 'shape [2]', 'shape [2, 3]'],
    ['a', [2, 3, 1], 'shape [2, 3, 1]', 'shape [2, 3]'],
    ['b', [1], 'a tensor [1]', 'no such tensor among 2'],
    ['ids', [1], 'dtype F32 or F16 or BF16', 'I64'],
  ];
  for (const [tensor, shape, expected, found] of rows) {
    assert.throws(
      () => weights.require(tensor, shape),
      (error: unknown) => {
        assert.ok(error instanceof SdxlError);
        assert.equal(error.code, 'WEIGHTS_INVALID');
        assert.deepEqual(error.fields, { file: join(path, single), tensor, expected, found });
        for (const part of [single, `"${tensor}"`, expected, found]) assert.ok(error.message.includes(part), error.message);
        return true;
      },
    );
  }
  assert.equal(weights.require('ids', [1], ['I64']).dtype, 'I64');
  assert.throws(() => weights.require('a', [2, 3], ['I64']), /expected dtype I64, found F32/);
});

const both = { 'x-1.safetensors': [value('a')], 'x-2.safetensors': [value('b')] };
const brokenIndexes: [string, unknown, Record<string, TensorToWrite[]>, RegExp][] = [
  ['missing shard', { a: 'x-1.safetensors', b: 'x-3.safetensors' }, both, /expected 2 shards, found no x-3\.safetensors/],
  ['tensor in no shard', { a: 'x-1.safetensors', c: 'x-2.safetensors' }, both, /"c": expected it in x-2.*found it in no shard/],
  ['tensor in another shard', { a: 'x-2.safetensors', b: 'x-1.safetensors' }, both, /"a": expected it in x-2.*found it in .*x-1/],
  [
    'tensor in two shards',
    { a: 'x-1.safetensors', b: 'x-2.safetensors' },
    { 'x-1.safetensors': [value('a')], 'x-2.safetensors': [value('b'), value('a')] },
    /x-2\.safetensors: tensor "a": expected each tensor in one shard.*x-1/,
  ],
  ['path as shard', { a: '../x-1.safetensors' }, both, /"a": expected the name of a \.safetensors file beside the index/],
  ['pickled shard', { a: 'x-1.bin' }, both, /"a": expected the name of a \.safetensors file/],
  ['number as shard', { a: 1 }, both, /"a": expected the name of a \.safetensors file/],
  ['empty map', {}, both, /tensors in "weight_map", found none/],
  ['list as map', ['a'], both, /an object "weight_map"/],
  ['no map', undefined, both, /an object "weight_map", found none/],
];
for (const [name, weightMap, shards, message] of brokenIndexes) {
  test(`refused index: ${name}`, async () => {
    const path = await sharded(weightMap, shards);
    await assert.rejects(WeightsDirectory.open(path, { stem }), failure('WEIGHTS_INVALID', message));
  });
}

test('refused index: no JSON', async () => {
  const path = await newFolder();
  await writeFile(join(path, index), '{');
  await assert.rejects(WeightsDirectory.open(path, { stem }), failure('WEIGHTS_INVALID', /expected JSON/));
});

const absent: [string, string[], RegExp][] = [
  ['nothing', [], /expected diffusion_pytorch_model\.safetensors or .*found no weights/],
  ['pickled weights', [`${stem}.bin`], /found diffusion_pytorch_model\.bin; only safetensors/],
  [
    'two variants',
    [`${stem}.fp16.safetensors`, `${stem}.bf16.safetensors`],
    /name one of the variants bf16, fp16 \(spec\.model\.variant, --variant\)/,
  ],
  ['another stem', ['model.safetensors'], /found model\.safetensors; only safetensors in the diffusers layout/],
];
for (const [name, files, message] of absent) {
  test(`no weights: ${name}`, async () => {
    const path = await newFolder();
    for (const file of files) await writeFile(join(path, file), '');
    await assert.rejects(WeightsDirectory.open(path, { stem }), failure('MODEL_NOT_FOUND', message));
  });
}

test('a directory that is not there', async () => {
  await assert.rejects(WeightsDirectory.open(join(folder, 'no'), { stem }), failure('MODEL_NOT_FOUND', /ENOENT/));
});

test('a digest is that of the content, is remembered, and is renewed when the file changes', async () => {
  const cacheDirectory = await newFolder();
  const path = join(await newFolder(), single);
  await writeSafetensors(path, [value('a', 1)]);
  let hashed = 0;
  const options = { cacheDirectory, onHash: () => hashed++ };
  const expected = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  assert.equal(await fileDigest(path, options), expected);
  assert.equal(await fileDigest(path, options), expected);
  assert.equal(hashed, 1);

  const { mtime } = await stat(path);
  await rm(path);
  await writeSafetensors(path, [value('a', 2)]);
  const second = await fileDigest(path, options);
  assert.notEqual(second, expected);
  assert.equal(hashed, 2);

  await utimes(path, mtime, new Date(mtime.getTime() + 5000));
  assert.equal(await fileDigest(path, options), second);
  assert.equal(hashed, 3);
});

test('a file that is gone by the time it is read is no defect of the program', async () => {
  const cacheDirectory = await newFolder();
  const path = join(await newFolder(), single);
  await writeSafetensors(path, [value('a', 1)]);
  await rm(path);
  await assert.rejects(
    fileDigest(path, { cacheDirectory }),
    failure('MODEL_NOT_FOUND', /can't be read any more \(ENOENT\).*leave the model/),
  );
  await writeSafetensors(path, [value('a', 1)]);
  const onHash = (): void => {
    rmSync(path);
  };
  await assert.rejects(fileDigest(path, { cacheDirectory, onHash }), failure('MODEL_NOT_FOUND', /ENOENT/));
});

test('each part of the identity counts, and a damaged record counts as none', async () => {
  const cacheDirectory = await newFolder();
  const path = join(await newFolder(), single);
  await writeSafetensors(path, [value('a', 1)]);
  let hashed = 0;
  const options = { cacheDirectory, onHash: () => hashed++ };
  const digest = await fileDigest(path, options);
  const [record = ''] = await readdir(join(cacheDirectory, 'digests'));
  const recordPath = join(cacheDirectory, 'digests', record);
  const sound: unknown = JSON.parse(await readFile(recordPath, 'utf8'));
  assert.ok(typeof sound === 'object' && sound !== null);
  const other = { sha256: 'f'.repeat(64) };
  for (const change of [{ path: '/x' }, { inode: '1' }, { size: '1' }, { mtimeNs: '1' }]) {
    await writeFile(recordPath, JSON.stringify({ ...sound, ...other, ...change }));
    assert.equal(await fileDigest(path, options), digest, JSON.stringify(change));
  }
  for (const text of ['{', 'null', '[]', '{}', JSON.stringify({ ...sound, sha256: 'zz' })]) {
    await writeFile(recordPath, text);
    assert.equal(await fileDigest(path, options), digest, text);
  }
  assert.equal(hashed, 10);
  await writeFile(recordPath, JSON.stringify({ ...sound, ...other }));
  assert.equal(await fileDigest(path, options), other.sha256);
});

test('a cache that cannot be written costs the memory, not the digest', async () => {
  const parent = await newFolder();
  await writeFile(join(parent, 'file'), '');
  const path = join(parent, single);
  await writeSafetensors(path, [value('a', 1)]);
  const unremembered: string[] = [];
  const options = { cacheDirectory: join(parent, 'file'), onUnremembered: (name: string) => unremembered.push(name) };
  assert.match(await fileDigest(path, options), /^[0-9a-f]{64}$/);
  assert.deepEqual(unremembered, [path]);
});

test('a digest in progress can be aborted', async () => {
  const path = join(await newFolder(), single);
  await writeSafetensors(path, [value('a', 1, [1024])]);
  const options = { cacheDirectory: await newFolder(), signal: AbortSignal.abort() };
  await assert.rejects(fileDigest(path, options), { name: 'AbortError' });
});

test('the digest of a directory covers every file and does not depend on where it lies', async () => {
  const options = { cacheDirectory: await newFolder() };
  const make = (content: number): Promise<string> =>
    sharded({ a: 'x-1.safetensors', b: 'x-2.safetensors' }, { 'x-1.safetensors': [value('a')], 'x-2.safetensors': [value('b', content)] });
  const digests: string[] = [];
  for (const content of [1, 1, 2]) {
    await using weights = await WeightsDirectory.open(await make(content), { stem });
    digests.push(await weights.digest(options));
  }
  assert.equal(digests[0], digests[1]);
  assert.notEqual(digests[0], digests[2]);
  assert.notEqual(combineDigests(['a', 'b']), combineDigests(['b', 'a']));
});

test('closing twice is allowed', async () => {
  const path = await newFolder();
  await writeSafetensors(join(path, single), [value('a')]);
  const weights = await WeightsDirectory.open(path, { stem });
  await weights.close();
  await weights.close();
});

function failure(code: ErrorCode, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof SdxlError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

describe('a variant', () => {
  /** Reads the value of `a`, which tells the files apart. */
  async function read(files: Readonly<Record<string, number>>, variant?: string): Promise<number | undefined> {
    const path = await newFolder();
    for (const [name, content] of Object.entries(files)) {
      if (name.endsWith('.json')) await writeFile(join(path, name), JSON.stringify({ weight_map: { a: `shard-${content}.safetensors` } }));
      else await writeSafetensors(join(path, name), [value('a', content)]);
    }
    await using weights = await WeightsDirectory.open(path, { stem, ...(variant === undefined ? {} : { variant }) });
    return (await weights.readFloat32('a')).data[0];
  }
  const half = `${stem}.fp16.safetensors`;

  test('is read where it is asked for; the plain files are where nothing is', async () => {
    assert.equal(await read({ [single]: 1, [half]: 2 }), 1);
    assert.equal(await read({ [single]: 1, [half]: 2 }, 'fp16'), 2);
  });
  test('is read where it alone is there', async () => {
    assert.equal(await read({ [half]: 2 }), 2);
  });
  test('that a component lacks leaves the plain files', async () => {
    assert.equal(await read({ [single]: 1 }, 'fp16'), 1);
    await assert.rejects(read({ [half]: 2 }, 'bf16'), {
      code: 'MODEL_NOT_FOUND',
      message: /expected .*\.bf16\.safetensors.*one of the variants fp16/,
    });
  });
  test('may be sharded, by either spelling of its index', async () => {
    for (const name of [`${single}.index.fp16.json`, `${stem}.fp16.safetensors.index.json`]) {
      assert.equal(await read({ [index]: 1, 'shard-1.safetensors': 1, 'shard-2.safetensors': 2, [name]: 2 }, 'fp16'), 2);
      assert.equal(await read({ [index]: 1, 'shard-1.safetensors': 1, 'shard-2.safetensors': 2, [name]: 2 }), 1);
      assert.equal(await read({ [name]: 2, 'shard-2.safetensors': 2 }), 2);
    }
    const legacy = { [`${stem}.fp16-00001-of-00002.safetensors`]: 3, [single]: 1 };
    assert.equal(await read(legacy, 'fp16'), 1);
  });
});
