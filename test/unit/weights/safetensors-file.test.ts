import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SdxlError } from '../../../runtime/errors/index.js';
import { SafetensorsFile, writeSafetensors } from '../../../runtime/weights/index.js';

const folder = await mkdtemp(join(tmpdir(), 'weights-'));
after(() => rm(folder, { recursive: true }));
let count = 0;
const nextPath = (): string => join(folder, `${String(count++)}.safetensors`);

function f32(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** A file with this header text and `dataBytes` zero bytes. */
async function withHeader(header: string, dataBytes: number, declared?: bigint): Promise<string> {
  const json = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(declared ?? BigInt(json.length));
  const path = nextPath();
  await writeFile(path, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
  return path;
}

test('what is written is read back, by range and converted', async () => {
  const path = nextPath();
  await writeSafetensors(
    path,
    [
      { name: 'a', dtype: 'F32', shape: [2, 2], data: f32(1, -2, 3.5, 4) },
      { name: 'half', dtype: 'F16', shape: [3], data: new Uint8Array(Uint16Array.of(0x3c00, 0xc000, 0x3800).buffer) },
      { name: 'brain', dtype: 'BF16', shape: [], data: new Uint8Array(Uint16Array.of(0x3f80).buffer) },
      { name: 'none', dtype: 'F32', shape: [0, 4], data: new Uint8Array(0) },
      { name: 'ids', dtype: 'I64', shape: [1], data: () => [new Uint8Array(4).fill(1), new Uint8Array(4)] },
    ],
    { format: 'pt', note: 'ü' },
  );
  await using file = await SafetensorsFile.open(path);
  assert.deepEqual([...file.tensors.keys()], ['a', 'half', 'brain', 'none', 'ids']);
  assert.deepEqual(file.metadata, { format: 'pt', note: 'ü' });
  const { offset, sizeBytes, shape } = file.entry('a');
  assert.deepEqual([sizeBytes, shape, offset % 8], [16, [2, 2], 0]);
  assert.deepEqual((await readFile(path)).subarray(offset, offset + sizeBytes), Buffer.from(f32(1, -2, 3.5, 4)));
  const part = new Uint8Array(8);
  await file.read('a', part, 4);
  assert.deepEqual(part, f32(-2, 3.5));
  assert.deepEqual(await file.readFloat32('a'), { dtype: 'f32', shape: [2, 2], data: Float32Array.of(1, -2, 3.5, 4) });
  assert.deepEqual([...(await file.readFloat32('half')).data], [1, -2, 0.5]);
  assert.deepEqual([...(await file.readFloat32('brain')).data], [1]);
  assert.deepEqual((await file.readFloat32('none')).data.length, 0);
});

test('reads stay inside their tensor', async () => {
  const path = nextPath();
  await writeSafetensors(path, [{ name: 'a', dtype: 'F32', shape: [2], data: f32(1, 2) }]);
  await using file = await SafetensorsFile.open(path);
  await assert.rejects(file.read('a', new Uint8Array(9)), RangeError);
  await assert.rejects(file.read('a', new Uint8Array(4), 5), RangeError);
  await assert.rejects(file.read('a', new Uint8Array(1), -1), RangeError);
  await assert.rejects(file.read('b', new Uint8Array(1)), weightsInvalid(/"b".*1 other tensors/));
});

test('integers are no float weights', async () => {
  const path = nextPath();
  await writeSafetensors(path, [{ name: 'ids', dtype: 'I64', shape: [1], data: new Uint8Array(8) }]);
  await using file = await SafetensorsFile.open(path);
  await assert.rejects(file.readFloat32('ids'), weightsInvalid(/"ids": expected dtype F32, F16 or BF16, found I64/));
});

test('a link is followed, and both paths are kept', async () => {
  const path = nextPath();
  await writeSafetensors(path, [{ name: 'a', dtype: 'F32', shape: [1], data: f32(1) }]);
  const link = nextPath();
  await symlink(path, link);
  await using file = await SafetensorsFile.open(link);
  assert.deepEqual([file.path, file.realPath], [link, path]);
});

test('a missing file is named', async () => {
  await assert.rejects(SafetensorsFile.open(join(folder, 'absent.safetensors')), (error: unknown) => {
    assert.ok(error instanceof SdxlError);
    assert.equal(error.code, 'MODEL_NOT_FOUND');
    assert.match(error.message, /absent\.safetensors.*ENOENT/);
    return true;
  });
});

const entry = (dtype: string, shape: number[], offsets: number[]): string => JSON.stringify({ dtype, shape, data_offsets: offsets });
const one = (dtype: string, shape: number[], offsets: number[]): string => `{"a":${entry(dtype, shape, offsets)}}`;
const two = (first: string, second: string): string => `{"a":${first},"b":${second}}`;

const damaged: [string, string, number, RegExp][] = [
  ['not JSON', '{"a":', 0, /expected a JSON header in UTF-8/],
  ['an array', '[1]', 0, /expected a JSON object/],
  ['unknown dtype', one('F33', [1], [0, 4]), 4, /"a": expected a dtype of .*F32.*found "F33"/],
  ['inherited name as dtype', one('toString', [1], [0, 4]), 4, /expected a dtype/],
  ['negative dimension', one('F32', [-1], [0, 4]), 4, /expected a shape of non-negative integers, found \[-1\]/],
  ['fractional dimension', one('F32', [0.5], [0, 2]), 2, /expected a shape/],
  ['three offsets', one('F32', [1], [0, 4, 8]), 4, /expected two data_offsets/],
  ['negative offset', one('F32', [1], [-4, 0]), 4, /expected two data_offsets/],
  ['size against shape', one('F32', [2], [0, 4]), 4, /"a": expected 8 bytes for F32 \[2\], found \[0,4\]/],
  ['size against dtype', one('F16', [2], [0, 8]), 8, /expected 4 bytes for F16 \[2\]/],
  ['overlap', two(entry('F32', [2], [0, 8]), entry('F32', [1], [4, 8])), 8, /"b".*an overlap/],
  ['the same bytes twice', two(entry('F32', [1], [0, 4]), entry('F32', [1], [0, 4])), 4, /an overlap/],
  ['gap', two(entry('F32', [1], [0, 4]), entry('F32', [1], [8, 12])), 12, /"b".*a gap/],
  ['gap at the start', one('F32', [1], [4, 8]), 8, /"a".*a gap/],
  ['beyond the end', one('F32', [2], [0, 8]), 7, /"a": expected its data up to byte \d+, found a file of \d+ bytes/],
  ['trailing bytes', one('F32', [1], [0, 4]), 5, /expected \d+ bytes, as the header says/],
  ['unknown field', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', 4, /no field but.*\["x"\]/],
  ['missing field', '{"a":{"dtype":"F32","shape":[1]}}', 4, /expected two data_offsets.*found nothing/],
  ['entry that is no object', '{"a":7}', 4, /"a": expected an object/],
  ['an entry nested without end', `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 4, /"a": expected an object.*nested too deep/],
  ['an entry without end', `{"a":"${'x'.repeat(100_000)}"}`, 4, /"a": expected an object.*found "x{199}…; /],
  ['metadata that is no text', '{"__metadata__":{"k":1}}', 0, /strings in __metadata__, found k of type number/],
  ['a name twice', `{"a":${entry('F32', [1], [0, 4])},"a":${entry('F32', [1], [0, 4])}}`, 4, /"a": expected each tensor once/],
  ['a name twice, escaped', `{"a":${entry('F32', [1], [0, 4])},"\\u0061":${entry('F16', [2], [0, 4])}}`, 4, /each tensor once/],
];
for (const [name, header, dataBytes, message] of damaged) {
  test(`refused: ${name}`, async () => {
    const path = await withHeader(header, dataBytes);
    await assert.rejects(SafetensorsFile.open(path), weightsInvalid(message, path));
  });
}

test('the header may list tensors in any order, empty ones between others', async () => {
  const header = {
    last: { dtype: 'F32', shape: [1], data_offsets: [8, 12] },
    empty: { dtype: 'F32', shape: [0], data_offsets: [4, 4] },
    first: { dtype: 'F32', shape: [1], data_offsets: [0, 4] },
    middle: { dtype: 'F16', shape: [2], data_offsets: [4, 8] },
    end: { dtype: 'F32', shape: [2, 0], data_offsets: [12, 12] },
    middling: { dtype: 'F32', shape: [0], data_offsets: [4, 4] },
  };
  await using file = await SafetensorsFile.open(await withHeader(JSON.stringify(header), 12));
  assert.deepEqual([...file.tensors.keys()], Object.keys(header));
  assert.equal(file.entry('last').offset, file.entry('first').offset + 8);
});

test('a repeated name deeper in the header is no repetition', async () => {
  const path = await withHeader(`{"__metadata__":{"a":"{\\"a\\":1}"},"a":${entry('F32', [1], [0, 4])}}`, 4);
  await using file = await SafetensorsFile.open(path);
  assert.deepEqual([...file.tensors.keys()], ['a']);
});

const lengths: [string, bigint, RegExp][] = [
  ['zero', 0n, /header length of 0/],
  ['beyond the file', 100n, /expected a header of 2 to 2 bytes, found a header length of 100/],
  ['beyond every file', 2n ** 63n, /header length of 9223372036854775808/],
];
for (const [name, declared, message] of lengths) {
  test(`refused: header length ${name}`, async () => {
    await assert.rejects(SafetensorsFile.open(await withHeader('{}', 0, declared)), weightsInvalid(message));
  });
}

test('refused: fewer than eight bytes', async () => {
  const path = nextPath();
  await writeFile(path, 'abc');
  await assert.rejects(SafetensorsFile.open(path), weightsInvalid(/at least 8 bytes, found 3 bytes/));
});

test('refused: a directory, and a pipe that nobody writes to', async () => {
  const [directory, pipe] = [nextPath(), nextPath()];
  await mkdir(directory);
  execFileSync('mkfifo', [pipe]);
  for (const path of [directory, pipe])
    await assert.rejects(SafetensorsFile.open(path), weightsInvalid(/expected a file, found something else/));
});

test('refused: a pointer of Git LFS, with the way to the file itself', async () => {
  const path = nextPath();
  await writeFile(path, 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10265086664\n');
  await assert.rejects(SafetensorsFile.open(path), weightsInvalid(/it is a pointer of Git LFS, .* `git lfs pull`$/));
});

test('refused: text that is no UTF-8', async () => {
  const path = await withHeader('{"?":1}', 0);
  const bytes = await readFile(path);
  bytes[10] = 0xff;
  await writeFile(path, bytes);
  await assert.rejects(SafetensorsFile.open(path), weightsInvalid(/UTF-8/));
});

test('a file cut short after opening gives an error, not zeros', async () => {
  const path = nextPath();
  await writeSafetensors(path, [{ name: 'a', dtype: 'F32', shape: [2], data: f32(1, 2) }]);
  await using file = await SafetensorsFile.open(path);
  await truncate(path, file.entry('a').offset + 4);
  await assert.rejects(file.readFloat32('a'), weightsInvalid(/"a": expected 8 bytes.*the end of the file after 4/));
});

test('a writer that is given the wrong number of bytes leaves nothing', async () => {
  const path = nextPath();
  const tensor = { name: 'a', dtype: 'F32', shape: [2], data: f32(1) } as const;
  await assert.rejects(writeSafetensors(path, [tensor]), /"a" needs 8 bytes, got 4/);
  await assert.rejects(readFile(path), { code: 'ENOENT' });
  const twice = [
    { ...tensor, shape: [1] },
    { ...tensor, shape: [1] },
  ];
  await assert.rejects(writeSafetensors(path, twice), /name occurs twice/);
});

function weightsInvalid(message: RegExp, file?: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof SdxlError, String(error));
    assert.equal(error.code, 'WEIGHTS_INVALID');
    assert.match(error.message, message);
    for (const key of ['file', 'expected', 'found']) assert.equal(typeof error.fields[key], 'string', key);
    if (file !== undefined) assert.equal(error.fields['file'], file);
    return true;
  };
}
